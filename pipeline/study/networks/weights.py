"""Reads a file of weights and loads it into a module."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.study.networks.cifar import Triple

_STATE_KEYS = ("state_dict", "model_state_dict", "model")  # where checkpoints store the state dict
_PREFIX = "module."  # added by DataParallel
_COUNTER = "num_batches_tracked"  # of batch norm, without effect; torch accepts files without it


class Weights(NamedTuple):
    """The content of a file of weights.

    Attributes:
        path: the file.
        state: tensors by parameter name.
        mean, std: normalisation of the input in [0, 1] that the network was trained with; None if the file has none.
    """

    path: Path
    state: dict[str, Tensor]
    mean: Triple | None
    std: Triple | None

    @property
    def outputs(self) -> int | None:
        """The number of logits: the rows of the last two-dimensional weight."""
        rows = [len(tensor) for name, tensor in self.state.items() if tensor.ndim == 2 and name.endswith("weight")]
        return rows[-1] if rows else None


def read_weights(path: Path) -> Weights:
    """Returns the content of a file that ``torch.save`` wrote. Only tensors and plain values are unpickled.

    Raises:
        PipelineError: the file cannot be read, or holds no weights.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about files that are refused below
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror or one_line(error)}") from None
    except Exception:  # torch may raise anything on damaged files
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save") from None
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save")
    tensors = {str(name).removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    return Weights(path, tensors, _triple(path, content, "mean"), _triple(path, content, "std"))


def _triple(path: Path, content: Any, key: str) -> Triple | None:
    value = content.get(key) if isinstance(content, dict) else None
    if value is None or isinstance(value, Tensor):
        return None
    try:
        red, green, blue = map(float, value)
    except (TypeError, ValueError, OverflowError):
        raise PipelineError(f"{path}: its {key} is not three numbers") from None
    return red, green, blue


def load_into(module: nn.Module, weights: Weights, model: str) -> None:
    """Loads all weights into a module.

    Raises:
        UsageError: names or shapes differ; the message names the first ones.
    """
    expected = module.state_dict()
    state = {name: t for name, t in weights.state.items() if name in expected or not name.endswith(_COUNTER)}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        differences = " ".join(one_line(line.strip()) for line in str(error).splitlines()[1:])
        raise UsageError(f"{weights.path} does not fit {model}: {differences[:300]}") from None
