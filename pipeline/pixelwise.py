"""What is done to every pixel between a rank's real numbers and the bytes that are stored (docs/numerics.md).

NumPy arrays go through ``compiled``; for any other namespace the same is written out in array operations.
"""

from types import ModuleType
from typing import Any

import numpy as np

from pipeline import compiled

Array = Any  # numpy.ndarray or cupy.ndarray


def round_planes(planes: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """rint of float64 (p, h, w) as int16, and each plane's least distance to a rounding tie, float64 (p,)."""
    if xp is np:
        rounded, margins = np.empty(planes.shape, np.int16), np.empty(len(planes))
        compiled.round_planes(_rows(planes, len(planes)), _rows(rounded, len(planes)), margins)
        return rounded, margins
    levels = xp.rint(planes)
    return levels.astype(xp.int16), 0.5 - xp.abs(planes - levels).max(axis=(1, 2))


def ties(planes: Array, rounded: Array, margins: Array, band: float, xp: ModuleType = np) -> Array:
    """int64 (): how many pixels of ``round_planes``'s arrays lie within ``band`` of a rounding tie; not waited for."""
    if xp is np:
        near = np.flatnonzero(margins < band)  # planes without any are most
        return np.int64(sum(compiled.ties(planes[p].reshape(-1), rounded[p].reshape(-1), band) for p in near))
    return xp.count_nonzero(0.5 - xp.abs(planes - rounded) < band)


def low(rounded: Array, xp: ModuleType = np) -> tuple[Array, int]:
    """clip(R, 0, 255) of int16 R as uint8, and how many pixels that has changed."""
    if xp is np:
        stored = np.empty(rounded.shape, np.uint8)
        return stored, int(compiled.low(rounded.reshape(-1), stored.reshape(-1)))
    return _clipped(rounded, xp)


def difference(whole: Array, part: Array, offset: int, xp: ModuleType = np) -> tuple[Array, int]:
    """clip(W - P + offset, 0, 255) of uint8 or int16 W and int16 P as uint8, and how many pixels were clipped."""
    if xp is np:
        stored = np.empty(part.shape, np.uint8)
        clipped = compiled.difference(_rows(whole, 1)[0], part.reshape(-1), offset, stored.reshape(-1))
        return stored, int(clipped)
    return _clipped(whole.astype(xp.int32) - part + offset, xp)


def _clipped(levels: Array, xp: ModuleType) -> tuple[Array, int]:
    clipped = xp.clip(levels, 0, 255)
    return clipped.astype(xp.uint8), int(xp.count_nonzero(clipped != levels))


def moments(stored: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """int64 (p,): sum of the grey levels, and of their squares, of uint8 (p, h, w)."""
    if xp is np:
        sums, squares = np.zeros(len(stored), np.int64), np.zeros(len(stored), np.int64)
        compiled.moments(_rows(stored, len(stored)), sums, squares)
        return sums, squares
    wide = stored.astype(xp.int64)
    return wide.sum(axis=(1, 2)), (wide * wide).sum(axis=(1, 2))


def _rows(planes: np.ndarray, count: int) -> np.ndarray:
    return np.ascontiguousarray(planes).reshape(count, -1)
