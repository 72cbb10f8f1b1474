"""Computes batches on one GPU: copies pixels there, computes their cuts and rows, and copies these back."""

import contextlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.batch import compute
from pipeline.numerics.cuda import eigh
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant, variants

Outputs = dict[Variant | str, np.ndarray]  # the arrays that receive each cut, and each array of rows

# How many float64 arrays of its size a plane needs at once: planes, Gram matrices, vectors, scaled, a cut, the arrays of the
# guards and a solver's workspace. The estimate is rather too high. Where it is too low, a MemoryError corrects it.
_ARRAYS = 24
_SHARE = 0.25  # of the GPU's free memory, for one of the threads that share it
_NO_MEMORY = ("ALLOC_FAILED", "MemoryAllocation", "OUT_OF_MEMORY")  # in the names of CUDA's and its libraries' errors


class Gpu:
    """The GPU of this process. Several threads may use one instance.

    Args:
        xp: the array namespace that drives the GPU (CuPy).

    Attributes:
        halved: how often a batch was too large for the GPU's memory.
    """

    def __init__(self, xp: ModuleType) -> None:
        self._xp, self._of_thread = xp, threading.local()
        self._most: int | None = None  # subpixels of one batch; None before the first one
        self.halved = 0

    def compute(self, pixels: np.ndarray, recipe: Recipe, out: Outputs) -> tuple[dict[Variant, Statistics], int]:
        """Computes images in batches that fit the GPU's memory.

        Args:
            pixels: uint8 (n, c, h, w).
            recipe: what to compute.
            out: arrays that receive the cuts and rows.

        Returns:
            The statistics of the cuts; and how many planes the GPU solved wrongly and LAPACK solved again.

        Raises:
            MemoryError: a single image does not fit.
        """
        statistics: dict[Variant, Statistics] = {}
        start = repaired = 0
        while start < len(pixels):
            stop = start + max(1, self._capacity() // max(1, pixels[0].size))
            part = {key: array[start:stop] for key, array in out.items()}
            try:
                batch = self._compute(pixels[start:stop], recipe, part)
            except MemoryError:
                if stop - start == 1 or len(pixels) == 1:
                    raise
                batch = (
                    None  # halve after this block: inside of it the error keeps the arrays of the failed batch alive
                )
            if batch is None:
                self._halve(min(stop, len(pixels)) - start, pixels[0].size)
                continue
            counts, wrong = batch
            statistics = {key: statistics[key] + count if start else count for key, count in counts.items()}
            start, repaired = stop, repaired + wrong
        return statistics, repaired

    def _compute(self, pixels: np.ndarray, recipe: Recipe, out: Outputs) -> tuple[dict[Variant, Statistics], int]:
        xp = self._xp
        with _memory_errors(), self._stream() as stream:
            on_gpu = xp.empty(pixels.shape, xp.uint8)
            on_gpu.set(np.ascontiguousarray(pixels), stream)
            cuts, rows, repaired = compute(on_gpu, recipe, xp, eigh.leading)
            arrays: dict[Variant | str, Any] = {variant: cut.pixels for variant, cut in cuts.items()} | rows
            # All are made contiguous before the first copy, and stay referenced until the copies have ended.
            results = [xp.ascontiguousarray(arrays[key], target.dtype) for key, target in out.items()]
            for array, target in zip(results, out.values(), strict=True):
                array.get(stream, out=target, blocking=False)
            stream.synchronize()
        return {variant: cut.statistics for variant, cut in cuts.items()}, repaired

    @contextlib.contextmanager
    def _stream(self) -> Iterator[Any]:
        """Makes this thread's stream the current one. With a stream per thread, copies overlap with arithmetic."""
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = self._xp.cuda.Stream(non_blocking=True)
        with self._of_thread.stream as stream:
            yield stream

    def _capacity(self) -> int:
        """Returns how many subpixels fit into one batch."""
        if self._most is None:
            free, _ = self._xp.cuda.runtime.memGetInfo()
            self._most = max(1, int(free * _SHARE) // (8 * _ARRAYS))
        return self._most

    def _halve(self, images: int, size: int) -> None:
        self.halved += 1
        self._most = max(1, images // 2) * size
        self._xp.get_default_memory_pool().free_all_blocks()


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Raises MemoryError where cuBLAS, cuSOLVER or the driver, rather than CuPy's allocator, run out of memory."""
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in _NO_MEMORY):
            raise MemoryError(str(error)) from None
        raise


def describe(xp: ModuleType) -> str:
    """Tests the GPU with one image for each solver. Returns the names of the GPU and of the array library.

    Raises:
        PipelineError: the GPU or its libraries do not work.
    """
    try:
        name = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        for side in (8, 48):
            pixels = xp.arange(side * side).astype(xp.uint8).reshape(1, 1, side, side)
            compute(pixels, Recipe(variants((1,), ("low", "high")), side), xp, eigh.leading)
    except (
        Exception
    ) as error:  # ImportError, errors of CUDA and of CuPy's compiler: all mean that this GPU cannot be used
        raise PipelineError(f"{' '.join(f'{type(error).__name__}: {error}'.split())[:300]}") from None
    return f"{name}, {xp.__name__} {xp.__version__}"
