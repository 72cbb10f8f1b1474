"""Networks stored with their weights in one file: ONNX and torch.export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.extras import optional_import


class Onnx(nn.Module):
    """An ONNX file, run by onnxruntime on the CPU, without gradients.

    Attributes:
        size: (height, width) of the input in pixels; None for any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        with optional_import():
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        argument = self._session.get_inputs()[0]
        self._input, (self._batch, self.size) = argument.name, _fixed_sizes(argument.shape, path)

    def forward(self, x: Tensor) -> Tensor:
        return in_batches(self._run, x, self._batch)

    def _run(self, x: Tensor) -> Tensor:
        array = np.ascontiguousarray(x.detach().cpu().numpy())
        return torch.from_numpy(self._session.run(None, {self._input: array})[0]).to(x.device)


class Exported(nn.Module):
    """A ``torch.export`` program. The file is code: load only files that you trust.

    Attributes:
        size: (height, width) of the input in pixels; None for any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        program: Any = torch.export.load(path)
        name = program.graph_signature.user_inputs[0]
        dimensions = next(node.meta["val"].shape for node in program.graph.nodes if node.name == name)
        self._batch, self.size = _fixed_sizes(list(dimensions), path)
        self.program: nn.Module = program.module()

    def train(self, mode: bool = True) -> "Exported":
        """Does nothing: an exported program has the mode in which it was exported."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        return in_batches(self.program, x, self._batch)


def _fixed_sizes(dimensions: list[Any], path: Path) -> tuple[int | None, tuple[int, int] | None]:
    """Returns the batch size and (height, width), each None if it is free. Free dimensions are names, not numbers."""
    if len(dimensions) != 4 or dimensions[1] not in (3, "channels"):
        raise UsageError(f"{path} takes {dimensions}: give a model that takes (n, 3, height, width)")
    batch, _, height, width = (size if type(size) is int else None for size in dimensions)
    return batch, None if height is None or width is None else (height, width)


def in_batches(run: Callable[[Tensor], Tensor], x: Tensor, batch: int | None) -> Tensor:
    """Returns ``run`` of ``x``, in batches of exactly ``batch`` images; the last batch is padded with black images.

    Args:
        batch: the only batch size that ``run`` accepts; None for any.
    """
    if batch is None or len(x) == batch:
        return run(x)
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        missing = batch - len(part)
        padded = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
        parts.append(run(padded)[: len(part)])
    return torch.cat(parts)
