"""Per-pixel arithmetic between a rank's real numbers and the stored bytes (docs/numerics.md).

Each function has two forms. NumPy arrays go through loops that numba compiles, because NumPy itself would make many passes
through memory. Arrays of other namespaces (CuPy) go through array operations. All arithmetic is exact, except one
subtraction, which both forms round alike. So both give the same bytes.
"""

from types import ModuleType
from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

Array = Any  # numpy.ndarray or cupy.ndarray

# Pixels whose squared grey levels add up in 32 bits.
_CHUNK = 1 << 15


def round_planes(planes: Array, band: float, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """Rounds planes to whole grey levels, halves to even, and measures how close they are to a rounding tie.

    Args:
        planes: float64 (p, h, w).
        band: grey levels around a tie.

    Returns:
        The rounded planes, int16 (p, h, w); the smallest distance of each plane to a tie, float64 (p,); and how many of
        its pixels are closer than ``band`` to a tie, int64 (p,).
    """
    if xp is np:
        return _round_on_cpu(planes, band)
    levels = xp.rint(planes)
    rounded = levels.astype(xp.int16)
    distance = xp.abs(xp.subtract(planes, levels, out=levels), out=levels)
    most = 0.5 - band  # this difference is rounded, so correct it until distance > most means 0.5 - distance < band
    most -= 2.0**-54 * (0.5 - most < band)
    return rounded, 0.5 - distance.max(axis=(1, 2)), (distance > most).sum(axis=(1, 2))


def clip(rounded: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """Clips whole grey levels R, int16 of any shape, to 0..255.

    Returns:
        clip(R, 0, 255) as uint8; and how many pixels this changed, int64 (). On a GPU the count is not waited for.
    """
    if xp is np:
        stored = np.empty(rounded.shape, np.uint8)
        return stored, np.int64(_clip_loop(rounded.reshape(-1), stored.reshape(-1)))
    return _clipped(rounded, xp)


def difference(whole: Array, part: Array, offset: int, xp: ModuleType = np) -> tuple[Array, Array]:
    """Subtracts an image from another one, with an offset.

    Args:
        whole: uint8 or int16 W.
        part: int16 P.
        offset: grey level that means no difference.

    Returns:
        clip(W - P + offset, 0, 255) as uint8; and how many pixels were clipped, int64 ().
    """
    if xp is np:
        stored = np.empty(part.shape, np.uint8)
        clipped = _difference(_rows(whole, 1)[0], part.reshape(-1), offset, stored.reshape(-1))
        return stored, np.int64(clipped)
    levels = xp.subtract(whole, part)
    levels += offset
    return _clipped(levels, xp)


def moments(stored: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """Returns the sum of grey levels, and of their squares, of each uint8 (p, h, w) plane: int64 (p,) each."""
    if xp is np:
        sums, squares = np.zeros(len(stored), np.int64), np.zeros(len(stored), np.int64)
        _moments(_rows(stored, len(stored)), sums, squares)
        return sums, squares
    squares = xp.multiply(stored, stored, dtype=xp.uint16)  # the smallest type that fits: a GPU is bound by its memory
    return stored.sum(axis=(1, 2), dtype=xp.int64), squares.sum(axis=(1, 2), dtype=xp.int64)


def _round_on_cpu(planes: np.ndarray, band: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = len(planes)
    rounded, margins, near = np.empty(planes.shape, np.int16), np.empty(count), np.zeros(count, np.int64)
    _round(_rows(planes, count), _rows(rounded, count), margins)
    for plane in np.flatnonzero(margins < band):  # most planes have no such pixel
        near[plane] = _ties(planes[plane].reshape(-1), rounded[plane].reshape(-1), band)
    return rounded, margins, near


def _clipped(levels: Array, xp: ModuleType) -> tuple[Array, Array]:
    stored = xp.clip(levels, 0, 255).astype(xp.uint8)
    return stored, xp.count_nonzero(stored != levels)


def _rows(planes: np.ndarray, count: int) -> np.ndarray:
    return np.ascontiguousarray(planes).reshape(count, -1)


def _round_loop(planes: Any, rounded: Any, margins: Any) -> None:
    """Rounds each row, and writes its smallest distance to a tie to ``margins``."""
    for plane in range(planes.shape[0]):
        farthest = 0.0
        for i in range(planes.shape[1]):
            level = np.rint(planes[plane, i])
            farthest = max(farthest, abs(planes[plane, i] - level))
            rounded[plane, i] = np.int16(np.int32(level))
        margins[plane] = 0.5 - farthest


# No value is NaN or infinite, and the sign of zero does not matter. With these promises LLVM vectorises the maximum.
_round = compiled(_round_loop, fastmath={"nnan", "ninf", "nsz"})


@compiled
def _ties(plane: Any, rounded: Any, band: float) -> int:
    count = 0
    for i in range(plane.size):
        count += 0.5 - abs(plane[i] - rounded[i]) < band
    return count


@compiled
def _clip_loop(rounded: Any, stored: Any) -> int:
    clipped = 0
    for i in range(rounded.size):
        level = min(max(rounded[i], np.int16(0)), np.int16(255))
        stored[i] = np.uint8(level)
        clipped += level != rounded[i]
    return clipped


@compiled
def _difference(whole: Any, part: Any, offset: int, stored: Any) -> int:
    clipped = 0
    for i in range(part.size):
        unclipped = np.int16(np.int16(whole[i]) - part[i] + np.int16(offset))
        level = min(max(unclipped, np.int16(0)), np.int16(255))
        stored[i] = np.uint8(level)
        clipped += level != unclipped
    return clipped


@compiled
def _moments(stored: Any, sums: Any, squares: Any) -> None:
    for plane in range(stored.shape[0]):
        for start in range(0, stored.shape[1], _CHUNK):
            chunk = stored[plane, start : start + _CHUNK]
            chunk_sum, chunk_squares = np.uint32(0), np.uint32(0)
            for i in range(chunk.size):
                level = np.uint32(chunk[i])
                chunk_sum += level
                chunk_squares += level * level
            sums[plane] += chunk_sum
            squares[plane] += chunk_squares
