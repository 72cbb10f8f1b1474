"""The loops of a proof over pixels, compiled by numba: sums, and the laws that parts of an image obey.

They only say whether all is as it should be; what is wrong, and where, is for ``pixels`` to tell.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

# Rows whose squared grey levels add up in 32 bits.
_ROWS = 1 << 16


def _moments(rows: Any, sums: Any, squares: Any) -> Any:
    """Add up grey levels and their squares; gives how many are 0 or 255, as all are that have been clipped.

    Args:
        rows: uint8 (n, 3 w), channels interleaved.
        sums, squares: uint64 (3,), added to.
    """
    ends = np.int64(0)
    for start in range(0, rows.shape[0], _ROWS):
        first, second = np.zeros(rows.shape[1], np.uint32), np.zeros(rows.shape[1], np.uint32)
        third = np.zeros(rows.shape[1], np.uint32)
        for row in range(start, min(start + _ROWS, rows.shape[0])):
            for i in range(rows.shape[1]):
                level = np.uint32(rows[row, i])
                first[i] += level
                second[i] += level * level
                third[i] += np.uint8(rows[row, i] + np.uint8(1)) < np.uint8(2)
        for i in range(rows.shape[1]):
            sums[i % 3] += first[i]
            squares[i % 3] += second[i]
            ends += third[i]
    return ends


def _add_up(image: Any, low: Any, high: Any) -> bool:
    """Whether parts can be those of an image (as ``law.Bounds`` has it). All uint8, flat, of the same length."""
    wrong: Any = 0
    for i in range(image.size):
        x, a, b = np.int16(image[i]), np.int16(low[i]), np.int16(high[i])
        total = np.int16(np.int16(a + b) - x)
        wrong += (total > np.int16(128)) & (min(a, b) > 0) | (total < np.int16(128)) & (max(a, b) < 255)
    return bool(wrong == 0)


def _narrow(least: Any, most: Any, low: Any, high: Any) -> bool:
    """Narrow what an unknown image can be by two parts; False where there is none. ``least``, ``most``: int16."""
    wrong: Any = 0
    for i in range(low.size):
        a, b = np.int16(low[i]), np.int16(high[i])
        total = np.int16(a + b - np.int16(128))
        least[i] = max(least[i], total if (a != 0) & (b != 0) else np.int16(0))
        most[i] = min(most[i], total if (a != 255) & (b != 255) else np.int16(255))
        wrong += least[i] > most[i]
    return bool(wrong == 0)


def _differ(band: Any, more: Any, less: Any) -> bool:
    """Whether a band is the difference of the images at its ends, where neither of these is clipped. uint8, flat."""
    wrong: Any = 0
    for i in range(band.size):
        a, b = np.int16(more[i]), np.int16(less[i])
        difference = min(max(np.int16(a - b + np.int16(128)), np.int16(0)), np.int16(255))
        wrong += (min(a, b) > 0) & (max(a, b) < 255) & (np.int16(band[i]) != difference)
    return bool(wrong == 0)


moments = compiled(_moments)
add_up, narrow, differ = compiled(_add_up), compiled(_narrow), compiled(_differ)
