"""Per-pixel arithmetic between a rank's real numbers and the stored bytes (docs/numerics.md).

Each function has two forms. NumPy arrays go through loops that numba compiles, because NumPy itself would make many passes
through memory. Arrays of other namespaces (CuPy) go through array operations. Both give the same bytes, because all
arithmetic is exact: a number minus the nearest whole number, and sums and differences of whole numbers. One subtraction
is rounded, that of a distance from 0.5, and both forms round it alike.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.solved import far

Array = Any  # numpy.ndarray or cupy.ndarray

# Pixels whose squared grey levels add up in 32 bits.
_CHUNK = 1 << 15


class Stored(NamedTuple):
    """Planes as they are stored. On a GPU the numbers are not waited for.

    Attributes:
        pixels: uint8 (p, h, w).
        clipped: int64 (), how many pixels were outside of 0..255.
        sums, squares: int64 (p,), the sum of grey levels, and of their squares, of each plane.
    """

    pixels: Array
    clipped: Array
    sums: Array
    squares: Array


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
    return rounded, 0.5 - distance.max(axis=(1, 2)), (distance > far(band)).sum(axis=(1, 2))


def clip(rounded: Array, xp: ModuleType = np) -> Stored:
    """Clips whole grey levels R, int16 (p, h, w), to 0..255."""
    if xp is np:
        return _on_cpu(_clip_loop, (_rows(rounded, len(rounded)),), rounded.shape)
    return _clipped(rounded, xp)


def difference(whole: Array, part: Array, offset: int, xp: ModuleType = np) -> Stored:
    """Subtracts planes from other ones, with an offset: clip(W - P + offset, 0, 255).

    Args:
        whole: uint8 or int16 W, (p, h, w).
        part: int16 P.
        offset: grey level that means no difference.
    """
    if xp is np:
        return _on_cpu(_difference, (_rows(whole, len(whole)), _rows(part, len(part)), offset), part.shape)
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


def _on_cpu(loop: Any, operands: tuple[Any, ...], shape: tuple[int, ...]) -> Stored:
    """Runs a loop that fills stored pixels and their moments, and returns how many pixels it clipped."""
    stored, totals = np.empty(shape, np.uint8), np.zeros((2, shape[0]), np.int64)
    clipped = loop(*operands, stored.reshape(shape[0], -1), totals[0], totals[1])
    return Stored(stored, np.int64(clipped), totals[0], totals[1])


def _clipped(levels: Array, xp: ModuleType) -> Stored:
    stored = xp.clip(levels, 0, 255).astype(xp.uint8)
    return Stored(stored, xp.count_nonzero(stored != levels), *moments(stored, xp))


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


@step
def _add_moments(chunk: Any, plane: int, sums: Any, squares: Any) -> None:
    """Adds the moments of up to ``_CHUNK`` uint8 pixels of a plane."""
    chunk_sum, chunk_squares = np.uint32(0), np.uint32(0)
    for i in range(chunk.size):
        level = np.uint32(chunk[i])
        chunk_sum += level
        chunk_squares += level * level
    sums[plane] += chunk_sum
    squares[plane] += chunk_squares


@compiled
def _moments(stored: Any, sums: Any, squares: Any) -> None:
    for plane in range(stored.shape[0]):
        for start in range(0, stored.shape[1], _CHUNK):
            _add_moments(stored[plane, start : start + _CHUNK], plane, sums, squares)


# The moments of a chunk are added while it is in the cache.


@compiled
def _clip_loop(rounded: Any, stored: Any, sums: Any, squares: Any) -> int:
    clipped = 0
    for plane in range(rounded.shape[0]):
        for start in range(0, rounded.shape[1], _CHUNK):
            levels, chunk = rounded[plane, start : start + _CHUNK], stored[plane, start : start + _CHUNK]
            changed: Any = np.uint16(0)  # narrow numbers: more of them fit a vector
            for i in range(chunk.size):
                level = min(max(levels[i], np.int16(0)), np.int16(255))
                chunk[i] = np.uint8(level)
                changed = np.uint16(changed + np.uint16(level != levels[i]))
            clipped += changed
            _add_moments(chunk, plane, sums, squares)
    return clipped


@compiled
def _difference(whole: Any, part: Any, offset: int, stored: Any, sums: Any, squares: Any) -> int:
    clipped, shift = 0, np.int16(offset)
    for plane in range(part.shape[0]):
        for start in range(0, part.shape[1], _CHUNK):
            end = start + _CHUNK
            left, right, chunk = whole[plane, start:end], part[plane, start:end], stored[plane, start:end]
            changed: Any = np.uint16(0)  # narrow numbers: more of them fit a vector
            for i in range(chunk.size):
                unclipped = np.int16(np.int16(left[i]) - right[i] + shift)
                level = min(max(unclipped, np.int16(0)), np.int16(255))
                chunk[i] = np.uint8(level)
                changed = np.uint16(changed + np.uint16(level != unclipped))
            clipped += changed
            _add_moments(chunk, plane, sums, squares)
    return clipped
