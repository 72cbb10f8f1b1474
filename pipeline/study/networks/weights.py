"""Reads a file of weights and loads it into a module."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.console import tell
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.storage.pointers import pointer_at
from pipeline.study.networks.cifar import Triple
from pipeline.study.networks.wrappers import unwrap

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net")  # where checkpoints store the state dict
_NORMALIZER = "normalizer.new_"  # + mean, std: of the robustness library, shape (3, 1, 1)
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
        if fault := pointer_at(path):
            raise PipelineError(f"{path} is {fault}") from None
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save") from None
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise PipelineError(f"{path} holds no plain weights: save model.state_dict() with torch.save")
    tensors = {str(name): tensor for name, tensor in state.items()}
    mean, std = (_triple(path, content, key) or _normalizer(path, tensors, key) for key in ("mean", "std"))
    return Weights(path, tensors, mean, std)


def _triple(path: Path, content: Any, key: str) -> Triple | None:
    value = content.get(key) if isinstance(content, dict) else None
    if value is None or isinstance(value, Tensor):
        return None
    try:
        red, green, blue = map(float, value)
    except (TypeError, ValueError, OverflowError):
        raise PipelineError(f"{path}: its {key} is not three numbers") from None
    return red, green, blue


def _normalizer(path: Path, state: dict[str, Tensor], key: str) -> Triple | None:
    tensors = (tensor for name, tensor in state.items() if name.endswith(_NORMALIZER + key))
    return next((_triple(path, {key: tensor.flatten().tolist()}, key) for tensor in tensors), None)


def load_into(module: nn.Module, weights: Weights, model: str) -> None:
    """Loads all weights into a module. What known wrappers added to the names is removed, with a message.

    Raises:
        UsageError: names or shapes differ; the message names the first one.
    """
    expected = module.state_dict()
    state, wrappers = unwrap(weights.state, expected)
    state = {name: tensor for name, tensor in state.items() if name in expected or not name.endswith(_COUNTER)}
    fault = _first_difference(state, expected)
    if not fault:
        try:
            module.load_state_dict(state)
        except RuntimeError as error:  # a module may have conditions of its own
            fault = one_line(" ".join(str(error).split()))[:300]
    if fault:
        raise UsageError(f"{weights.path} does not fit {model}: {fault}")
    if wrappers:
        tell(one_line(f"{weights.path}: removed what {', '.join(wrappers)} added to the weights"))


def _first_difference(state: dict[str, Tensor], expected: Mapping[str, Any]) -> str:
    """Returns the first name or shape that differs, or an empty string."""
    for name, tensor in state.items():
        if name not in expected:
            return f"it has {one_line(name)[:200]!r}, which the network has not"
        if isinstance(expected[name], Tensor) and tensor.shape != expected[name].shape:
            return f"{name} has the shape {tuple(tensor.shape)}, the network needs {tuple(expected[name].shape)}"
    missing = (name for name in expected if name not in state and not name.endswith(_COUNTER))
    return next((f"it lacks {name!r}" for name in missing), "")
