"""Undoes the filters of PNG rows, compiled by numba: each subpixel depends on the one before, so NumPy has no call for it.

Written from the specification (PNG, W3C third edition, section 9), independently of the writer.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

FILTERS = 5
# Unsigned indexes: numba checks those that can be negative, which takes longer than the arithmetic.
_1, _2, _3, _BYTE = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(255)


def unfilter(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of images, and which images have only filters that exist.

    Args:
        lines: uint8 (n, h, 1 + 3 w), of each row its filter and its bytes.

    Returns:
        uint8 (n, h, w, 3) pixels, and bool (n,). Images with an unknown filter have any pixels.
    """
    count, height, width = len(lines), lines.shape[1], lines.shape[2] // 3
    valid: np.ndarray = np.all(lines[:, :, 0] < FILTERS, axis=1)
    pixels = np.empty((count, height, width, 3), np.uint8)
    _undo(lines.reshape(count, -1), pixels.reshape(-1), np.uint64(3 * width))
    return pixels, valid


@compiled
def _undo(images: Any, pixels: Any, row: Any) -> None:
    """Undoes the filters of images. Rows with an unknown filter are left as they are.

    Args:
        images: uint8 (n, h (1 + row)).
        pixels: uint8 (n h row,), filled.
        row: uint64, subpixels of a row.
    """
    zero = np.uint64(0)
    blank: Any = np.zeros(row, np.uint8)
    out = zero
    for image in range(len(images)):
        lines = images[image]
        above, up = blank, zero
        for at in range(zero, np.uint64(lines.size), row + _1):
            kind, line = lines[at], at + _1
            red, green, blue = zero, zero, zero
            if kind == 0:
                for i in range(row):
                    pixels[out + i] = lines[line + i]
            elif kind == 1:
                for i in range(row):
                    pixels[out + i] = lines[line + i] + (pixels[out + i - _3] if i >= _3 else np.uint8(0))
            elif kind == 2:
                for i in range(row):
                    pixels[out + i] = lines[line + i] + above[up + i]
            elif kind == 3:
                for i in range(zero, row, _3):
                    red = (np.uint64(lines[line + i]) + ((red + np.uint64(above[up + i])) >> _1)) & _BYTE
                    green = (np.uint64(lines[line + i + _1]) + ((green + np.uint64(above[up + i + _1])) >> _1)) & _BYTE
                    blue = (np.uint64(lines[line + i + _2]) + ((blue + np.uint64(above[up + i + _2])) >> _1)) & _BYTE
                    pixels[out + i], pixels[out + i + _1], pixels[out + i + _2] = red, green, blue
            elif kind == 4:
                for i in range(row):
                    left: Any = np.int64(pixels[out + i - _3]) if i >= _3 else 0
                    corner: Any = np.int64(above[up + i - _3]) if i >= _3 else 0
                    over: Any = np.int64(above[up + i])
                    by_left, by_up, by_corner = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
                    nearest = (
                        left if by_left <= by_up and by_left <= by_corner else over if by_up <= by_corner else corner
                    )
                    pixels[out + i] = np.uint8(lines[line + i] + nearest)
            above, up, out = pixels, out, out + row
