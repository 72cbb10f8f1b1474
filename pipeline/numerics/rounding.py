"""What is done to every pixel between a rank's real numbers and the bytes that are stored (docs/numerics.md).

NumPy arrays go through ``compiled``; for any other namespace the same is written out in array operations.
"""

from types import ModuleType
from typing import Any

import numpy as np

from pipeline.numerics import compiled

Array = Any  # numpy.ndarray or cupy.ndarray


def round_planes(planes: Array, band: float, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """rint of float64 (p, h, w) as int16; each plane's least distance to a rounding tie, float64 (p,); and how many of its
    pixels lie within ``band`` of one, int64 (p,)."""
    if xp is np:
        rounded, margins, near = (
            np.empty(planes.shape, np.int16),
            np.empty(len(planes)),
            np.zeros(len(planes), np.int64),
        )
        compiled.round_planes(_rows(planes, len(planes)), _rows(rounded, len(planes)), margins)
        for plane in np.flatnonzero(margins < band):  # most have none
            near[plane] = compiled.ties(planes[plane].reshape(-1), rounded[plane].reshape(-1), band)
        return rounded, margins, near
    levels = xp.rint(planes)
    rounded = levels.astype(xp.int16)
    distance = xp.abs(xp.subtract(planes, levels, out=levels), out=levels)
    most = 0.5 - band  # rounded down: 0.5 - distance < band where distance > most
    most -= 2.0**-54 * (0.5 - most < band)
    return rounded, 0.5 - distance.max(axis=(1, 2)), (distance > most).sum(axis=(1, 2))


def low(rounded: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """clip(R, 0, 255) of int16 R as uint8, and how many pixels that has changed, int64 (), not waited for."""
    if xp is np:
        stored = np.empty(rounded.shape, np.uint8)
        return stored, np.int64(compiled.low(rounded.reshape(-1), stored.reshape(-1)))
    return _clipped(rounded, xp)


def difference(whole: Array, part: Array, offset: int, xp: ModuleType = np) -> tuple[Array, Array]:
    """clip(W - P + offset, 0, 255) of uint8 or int16 W and int16 P as uint8, and how many pixels were clipped, int64 ()."""
    if xp is np:
        stored = np.empty(part.shape, np.uint8)
        clipped = compiled.difference(_rows(whole, 1)[0], part.reshape(-1), offset, stored.reshape(-1))
        return stored, np.int64(clipped)
    levels = xp.subtract(whole, part)
    levels += offset
    return _clipped(levels, xp)


def _clipped(levels: Array, xp: ModuleType) -> tuple[Array, Array]:
    stored = xp.clip(levels, 0, 255).astype(xp.uint8)
    return stored, xp.count_nonzero(stored != levels)


def moments(stored: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """int64 (p,): sum of the grey levels, and of their squares, of uint8 (p, h, w)."""
    if xp is np:
        sums, squares = np.zeros(len(stored), np.int64), np.zeros(len(stored), np.int64)
        compiled.moments(_rows(stored, len(stored)), sums, squares)
        return sums, squares
    squares = xp.multiply(stored, stored, dtype=xp.uint16)  # the narrowest that holds them: a card waits for its memory
    return stored.sum(axis=(1, 2), dtype=xp.int64), squares.sum(axis=(1, 2), dtype=xp.int64)


def _rows(planes: np.ndarray, count: int) -> np.ndarray:
    return np.ascontiguousarray(planes).reshape(count, -1)
