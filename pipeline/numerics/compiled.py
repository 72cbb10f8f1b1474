"""The loops over pixels that NumPy would run as many passes through memory, compiled by numba for the CPU.

``pixelwise`` says what each does, and does it for other array namespaces. All arithmetic is exact, but for the one
subtraction whose result both round alike, so that the bytes are the same.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

# Pixels whose squared grey levels add up in 32 bits.
_CHUNK = 1 << 15


def _round(planes: Any, rounded: Any, margins: Any) -> None:
    for plane in range(planes.shape[0]):
        farthest = 0.0
        for i in range(planes.shape[1]):
            level = np.rint(planes[plane, i])
            farthest = max(farthest, abs(planes[plane, i] - level))
            rounded[plane, i] = np.int16(np.int32(level))
        margins[plane] = 0.5 - farthest


def _ties(plane: Any, rounded: Any, band: float) -> int:
    count = 0
    for i in range(plane.size):
        count += 0.5 - abs(plane[i] - rounded[i]) < band
    return count


def _low(rounded: Any, stored: Any) -> int:
    clipped = 0
    for i in range(rounded.size):
        level = min(max(rounded[i], np.int16(0)), np.int16(255))
        stored[i] = np.uint8(level)
        clipped += level != rounded[i]
    return clipped


def _difference(whole: Any, part: Any, offset: int, stored: Any) -> int:
    clipped = 0
    for i in range(part.size):
        unclipped = np.int16(np.int16(whole[i]) - part[i] + np.int16(offset))
        level = min(max(unclipped, np.int16(0)), np.int16(255))
        stored[i] = np.uint8(level)
        clipped += level != unclipped
    return clipped


def _moments(stored: Any, sums: Any, squares: Any) -> None:
    for plane in range(stored.shape[0]):
        for start in range(0, stored.shape[1], _CHUNK):
            chunk = stored[plane, start : start + _CHUNK]
            first, second = np.uint32(0), np.uint32(0)
            for i in range(chunk.size):
                level = np.uint32(chunk[i])
                first += level
                second += level * level
            sums[plane] += first
            squares[plane] += second


# Nothing is NaN or infinite, and the sign of zero does not matter: said, so that the search for the maximum is vectorised.
round_planes = compiled(_round, fastmath={"nnan", "ninf", "nsz"})
ties, low, difference, moments = compiled(_ties), compiled(_low), compiled(_difference), compiled(_moments)
