"""The exact Gram matrix of the smaller side of a plane."""

import numpy as np

# Rows or columns whose products of grey levels float32 adds exactly: 255^2 * 256 < 2^24.
EXACT = 256


def gram(plane: np.ndarray, out: np.ndarray) -> None:
    """Writes A^T A, or A A^T where that is smaller, to ``out`` (n, n).

    The entries are integers. Products of at most ``EXACT`` rows at a time stay below 2^24, so float32 represents every
    partial sum exactly, in whatever order BLAS (ssyrk) adds. float64 adds the products of these blocks exactly too.

    Args:
        plane: uint8 (h, w).
        out: float64 (n, n).
    """
    height, width = plane.shape
    tall = plane if width <= height else plane.T
    levels = tall.astype(np.float32)
    for start in range(0, len(levels), EXACT):
        block = levels[start : start + EXACT]
        if start:
            out += block.T @ block
        else:
            out[:] = block.T @ block
