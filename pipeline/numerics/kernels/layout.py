"""How matrices are stored, so that vectors of eight numbers never cross a line of the cache."""

import numpy as np

from pipeline.numerics.kernels.lanes import LANES

_LINE = 64  # bytes


def padded(count: int) -> int:
    """Returns a count, rounded up to a multiple of 8."""
    return -(-count // LANES) * LANES


def stride(n: int) -> int:
    """Returns the distance between rows of n numbers: an odd number of lines of the cache.

    With an even number, and most of all with a power of two, the entries of a column share few sets of the cache.
    """
    return (padded(n) // LANES | 1) * LANES


def aligned(size: int) -> np.ndarray:
    """Returns a float64 array whose first element begins a line of the cache. The contents are arbitrary."""
    array = np.empty(size + LANES)
    start = -array.ctypes.data % _LINE // array.itemsize
    return array[start : start + size]
