"""Networks that come as one file with their weights: ONNX and torch.export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UsageError


class Onnx(nn.Module):
    """An ONNX file by onnxruntime, forwards only, on the CPU.

    Attributes:
        size: (height, width) of its input; None for any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise UsageError('an .onnx model needs onnxruntime: pip install -e ".[study]"') from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        taken = self._session.get_inputs()[0]
        self._input, (self._batch, self.size) = taken.name, _shape(taken.shape, path)

    def forward(self, x: Tensor) -> Tensor:
        return batched(self._run, x, self._batch)

    def _run(self, x: Tensor) -> Tensor:
        array = np.ascontiguousarray(x.detach().cpu().numpy())
        return torch.from_numpy(self._session.run(None, {self._input: array})[0]).to(x.device)


class Exported(nn.Module):
    """A program of ``torch.export``. Its file is code: load only what you trust.

    Attributes:
        size: (height, width) of its input; None for any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        program: Any = torch.export.load(path)
        name = program.graph_signature.user_inputs[0]
        taken = next(node.meta["val"].shape for node in program.graph.nodes if node.name == name)
        self._batch, self.size = _shape(list(taken), path)
        self.program: nn.Module = program.module()

    def train(self, mode: bool = True) -> "Exported":
        """The program has the mode that it was exported in; there is no other."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        return batched(self.program, x, self._batch)


def _shape(dimensions: list[Any], path: Path) -> tuple[int | None, tuple[int, int] | None]:
    """Batch and (height, width) where they are fixed; names stand for what is free."""
    if len(dimensions) != 4 or dimensions[1] not in (3, "channels"):
        raise UsageError(f"{path} takes {dimensions}: a model here takes (n, 3, height, width)")
    batch, _, height, width = (size if type(size) is int else None for size in dimensions)
    return batch, None if height is None or width is None else (height, width)


def batched(run: Callable[[Tensor], Tensor], x: Tensor, batch: int | None) -> Tensor:
    """``run`` over ``x`` in batches of the one size that it takes, the last filled up with zeros."""
    if batch is None or len(x) == batch:
        return run(x)
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        short = batch - len(part)
        filled = torch.cat([part, part.new_zeros(short, *part.shape[1:])]) if short else part
        parts.append(run(filled)[: len(part)])
    return torch.cat(parts)
