"""Low-pass images: the discrete Fourier transform of a plane, cut to a disc around frequency zero (paper, section 9.1).

A real plane and a disc that is symmetric in both frequencies need no complex numbers: with B the orthonormal cosines and
sines of the frequencies 0..r, F_r = B_h (M o (B_h^T A B_w)) B_w^T, where M keeps the pairs u^2 + v^2 <= r^2. So F_r has
at most 2 r + 1 columns to be made of, which bounds its rank. Every plane goes through BLAS calls of its own.
"""

import functools
from types import ModuleType

import numpy as np

from pipeline.numerics import rounding
from pipeline.numerics.svd import EXACT_TIE, TIE, Array, Truncation, to_host


def lowpass(planes: Array, radius: int, xp: ModuleType = np) -> Truncation:
    """Keep the frequencies (u, v) with u^2 + v^2 <= radius^2, u and v in periods per height and per width.

    Sums of few cosines meet rounding ties exactly (half of a chequerboard is 127.5): what is within ``svd.EXACT_TIE`` of a
    half is that half, and goes to the even side, on every backend.

    Args:
        planes: float64 (p, h, w), grey levels 0..255.
        radius: at least 0.

    Returns:
        planes, float64; whole grey levels, int16; and the subpixels near a tie. Nothing is ever degenerate, deficient or
        recomputed.
    """
    _, height, width = planes.shape
    (columns, u), (rows, v) = _basis(height, radius), _basis(width, radius)
    left, right, disc = (xp.asarray(array) for array in (columns, rows, u[:, None] ** 2 + v**2 <= radius**2))
    kept = left @ ((left.T @ planes @ right) * disc) @ right.T
    rounded, margin, near = rounding.round_planes(kept, TIE, xp)
    for plane in np.flatnonzero(to_host(margin < EXACT_TIE)):
        halves = xp.rint(2 * kept[plane]) / 2
        kept[plane] = xp.where(xp.abs(kept[plane] - halves) < EXACT_TIE, halves, kept[plane])
        rounded[plane] = xp.rint(kept[plane])
    return Truncation(kept, rounded, int(near.sum()), 0, 0, 0)


@functools.lru_cache(maxsize=64)
def _basis(size: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 (size, m): orthonormal cosines and sines of the frequencies up to ``radius``, and int64 (m,): those."""
    steps = np.arange(size)
    columns, frequencies = [], []
    for frequency in range(min(radius, size // 2) + 1):
        angles = 2 * np.pi * (frequency * steps % size) / size
        alone = frequency == 0 or 2 * frequency == size  # their sine is zero
        for wave in (np.cos,) if alone else (np.cos, np.sin):
            columns.append(wave(angles) * np.sqrt((1 if alone else 2) / size))
            frequencies.append(frequency)
    return np.stack(columns, axis=1), np.array(frequencies)
