"""Weights from a file to a module, with one line where they do not fit."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.study.networks.cifar import Triple

_INSIDE = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the state
_PREFIX = "module."  # DataParallel's
_COUNTER = "num_batches_tracked"  # of batch norm: older files lack it, and it changes nothing


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        path: the file.
        state: tensors by parameter name.
        mean, std: of the input in [0, 1] that the network was trained with, where the file says so.
    """

    path: Path
    state: dict[str, Tensor]
    mean: Triple | None
    std: Triple | None

    @property
    def outputs(self) -> int | None:
        """Logits, by the last two-dimensional weight's rows."""
        rows = [len(tensor) for name, tensor in self.state.items() if tensor.ndim == 2 and name.endswith("weight")]
        return rows[-1] if rows else None


def read_weights(path: Path) -> Weights:
    """Read what ``torch.save`` wrote; only tensors and plain values are unpickled.

    Raises:
        PipelineError: the file cannot be read, or holds no weights.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused below in one line
            read: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror or one_line(error)}") from None
    except Exception:  # torch raises what it likes on damaged files
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save") from None
    state = read
    if isinstance(read, dict):
        state = next((read[key] for key in _INSIDE if isinstance(read.get(key), dict)), read)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save")
    plain = {str(name).removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    return Weights(path, plain, _triple(path, read, "mean"), _triple(path, read, "std"))


def _triple(path: Path, read: Any, key: str) -> Triple | None:
    value = read.get(key) if isinstance(read, dict) else None
    if value is None or isinstance(value, Tensor):
        return None
    try:
        red, green, blue = map(float, value)
    except (TypeError, ValueError, OverflowError):
        raise PipelineError(f"{path}: its {key} is not three numbers") from None
    return red, green, blue


def fit(module: nn.Module, weights: Weights, model: str) -> None:
    """Load them, all of them and nothing else.

    Raises:
        UsageError: names or shapes differ; the line names the first few.
    """
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: tensor for name, tensor in weights.state.items() if not name.endswith(_COUNTER)}
    missing = [name for name in own if name not in given]
    beyond = [name for name in given if name not in own]
    shapes = [
        f"{name} {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    faults = (("lacks", missing), ("has beyond them", beyond), ("has", shapes))
    told = [f"{what} {_few(names)}" for what, names in faults if names]
    if told:
        raise UsageError(f"{weights.path} does not fit {model}: it {'; it '.join(told)}")
    module.load_state_dict(given, strict=False)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return one_line(", ".join(names[:3])) + more
