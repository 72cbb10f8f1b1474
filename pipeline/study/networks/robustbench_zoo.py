"""Networks of RobustBench's model zoo, loaded by RobustBench itself: ``robustbench:[DATASET/[THREAT/]]NAME``.

RobustBench keeps checkpoints in ``models/DATASET/THREAT/NAME.pt``, and downloads those that are missing.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, nearest, one_line
from pipeline.study.networks.network import Network

PREFIX = "robustbench:"
_DEFAULTS = ("cifar10", "Linf")
_MODELS = Path("models")  # RobustBench's own default
_INSTALL = 'pip install "robustbench==1.1.1" "setuptools<82" in an environment of its own: it needs an older timm'


def load(spec: str, weights: Path | None, name: str) -> Network:
    """Returns a network of the zoo. It normalises its input itself.

    Args:
        spec: ``robustbench:NAME``, or with the dataset (``cifar10``, ``cifar100``, ``imagenet``) and the threat model
            (``Linf``, ``L2``, ``corruptions``) before the name.
        weights: its checkpoint, as RobustBench distributes it; None for the one in ``models``, which is downloaded once.
        name: in figures and tables.

    Raises:
        UsageError: RobustBench or the network does not exist, or the checkpoint is missing or does not fit.
    """
    *given, model = spec.removeprefix(PREFIX).split("/")
    dataset, threat = [*given, *_DEFAULTS[len(given) :]] if len(given) <= 2 else (spec, "")
    with _quiet():
        utils = _utils(spec)
        checkpoints = _checkpoints(utils, spec, dataset, threat, model)
        file = Path(dataset, threat, f"{model}.pt")
        with contextlib.ExitStack() as stack:
            folder = _MODELS
            if weights is not None:
                if checkpoints != 1:
                    raise UsageError(f"{spec} has {checkpoints} checkpoints: put them into {_MODELS / file.parent}")
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / file).parent.mkdir(parents=True)
                os.symlink(weights.resolve(), folder / file)
            try:
                module = utils.load_model(model, model_dir=folder, dataset=dataset, threat_model=threat)
            except Exception as error:  # downloads, unpickling and the zoo's code may raise anything
                place = weights or _MODELS / file
                raise UsageError(f"model {spec!r}: {one_line(error)[:200]}; its checkpoint is {place}") from None
    return Network(module, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Sends what RobustBench prints to stderr, and hides its warnings about old interfaces."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _utils(spec: str) -> Any:
    """Returns the module ``robustbench.utils``."""
    try:
        import pyautoattack.state

        # RobustBench imports it by the name that it has in its repository.
        sys.modules.setdefault("autoattack", pyautoattack)
        sys.modules.setdefault("autoattack.state", pyautoattack.state)
        import robustbench.utils
    except Exception as error:  # with another timm, its import may raise anything
        raise UsageError(f"model {spec!r}: {type(error).__name__}: {one_line(error)}; {_INSTALL}") from None
    return robustbench.utils


def _checkpoints(utils: Any, spec: str, dataset: str, threat: str, model: str) -> int:
    """Returns the number of files of a network. Raises UsageError if the zoo does not have it."""
    zoo = {of.value: {kind.value: kinds for kind, kinds in kinds.items()} for of, kinds in utils.all_models.items()}
    if dataset not in zoo or threat not in zoo[dataset]:
        threats = ", ".join(dict.fromkeys(kind for kinds in zoo.values() for kind in kinds))
        raise UsageError(f"model {spec!r}: give {PREFIX}[DATASET/[THREAT/]]NAME, with {', '.join(zoo)} and {threats}")
    models = zoo[dataset][threat]
    if model not in models:
        raise UsageError(f"model {spec!r}: {dataset}/{threat} has no {model!r}{nearest(model, models)}")
    files = models[model].get("gdrive_id")
    return len(files) if isinstance(files, list) else 1
