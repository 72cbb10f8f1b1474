"""One card: takes planes from host memory, computes their cuts and rows, and puts these back into host memory."""

import contextlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.batch import Recipe, compute
from pipeline.numerics.cut import Statistics
from pipeline.numerics.variants import Variant, variants

Outputs = dict[Variant | str, np.ndarray]  # where each cut and each array of rows goes

# What is alive at once of a plane, in float64 arrays of its size: planes, Gram, vectors, scaled, a cut, the guards' and a
# solver's workspace. A guess that errs to the safe side; running out of memory corrects it.
_ARRAYS = 24
_NO_MEMORY = ("ALLOC_FAILED", "MemoryAllocation", "OUT_OF_MEMORY")  # in the names of the errors
_SHARE = 0.25  # of the card's free memory that one of several threads takes at once


class Card:
    """The card that this process has, by the array namespace that drives it (CuPy). Threads may share one.

    Args:
        xp: the namespace.

    Attributes:
        halved: how often a batch was too large for the card's memory.
    """

    def __init__(self, xp: ModuleType) -> None:
        self._xp, self._of_thread = xp, threading.local()
        self._most: int | None = None  # subpixels that are computed at once, when it has been found
        self.halved = 0

    def compute(self, pixels: np.ndarray, recipe: Recipe, out: Outputs) -> tuple[dict[Variant, Statistics], int]:
        """Cut uint8 (n, c, h, w) pixels; the cuts and rows are in ``out`` afterwards.

        Returns:
            the statistics of the cuts, and how many planes the card got wrong and LAPACK then right.

        Raises:
            MemoryError: a single image does not fit.
        """
        statistics: dict[Variant, Statistics] = {}
        start = repaired = 0
        while start < len(pixels):
            stop = start + max(1, self._room() // max(1, pixels[0].size))
            part = {key: array[start:stop] for key, array in out.items()}
            try:
                found, wrong = self._compute(pixels[start:stop], recipe, part)
            except MemoryError:
                if stop - start == 1 or len(pixels) == 1:
                    raise
                found = None  # halved below, where the error no longer keeps the arrays of the try
            if found is None:
                self._halve(min(stop, len(pixels)) - start, pixels[0].size)
                continue
            statistics = {variant: statistics[variant] + one if start else one for variant, one in found.items()}
            start, repaired = stop, repaired + wrong
        return statistics, repaired

    def _compute(self, pixels: np.ndarray, recipe: Recipe, out: Outputs) -> tuple[dict[Variant, Statistics], int]:
        xp = self._xp
        with _memory_errors(), self._stream() as stream:
            on_card = xp.empty(pixels.shape, xp.uint8)
            on_card.set(np.ascontiguousarray(pixels), stream)
            cuts, rows, repaired = compute(on_card, recipe, xp)
            arrays: dict[Variant | str, Any] = {variant: one.pixels for variant, one in cuts.items()} | rows
            kept = [xp.ascontiguousarray(arrays[key], array.dtype) for key, array in out.items()]
            for array, target in zip(kept, out.values(), strict=True):
                array.get(stream, out=target, blocking=False)
            stream.synchronize()
        return {variant: one.statistics for variant, one in cuts.items()}, repaired

    @contextlib.contextmanager
    def _stream(self) -> Iterator[Any]:
        """The thread's own, so that one's copies run beside another's arithmetic."""
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = self._xp.cuda.Stream(non_blocking=True)
        with self._of_thread.stream as stream:
            yield stream

    def _room(self) -> int:
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
    """Want of memory that CuPy's own allocator does not meet: cuBLAS's, cuSOLVER's, the driver's."""
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in _NO_MEMORY):
            raise MemoryError(str(error)) from None
        raise


def describe(xp: ModuleType) -> str:
    """The card and what drives it, in words, when it has cut images with each solver. Raises PipelineError if it cannot."""
    try:
        name = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        for side in (8, 48):
            pixels = xp.arange(side * side).astype(xp.uint8).reshape(1, 1, side, side)
            compute(pixels, Recipe(variants((1,), ("low", "high")), side), xp)
    except Exception as error:  # ImportError, CUDA's errors, CuPy's compiler's: each is a reason not to take this card
        raise PipelineError(f"{' '.join(f'{type(error).__name__}: {error}'.split())[:300]}") from None
    return f"{name}, {xp.__name__} {xp.__version__}"
