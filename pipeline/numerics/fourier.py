"""Low-pass images: a plane's discrete Fourier transform, restricted to a disc around frequency zero (paper, section 9.1).

A real plane and a disc that is symmetric in both frequencies need no complex numbers. Let B hold the orthonormal cosines and
sines of the frequencies 0..r as columns. Then F_r = B_h (M o (B_h^T A B_w)) B_w^T, where M keeps the pairs with
u^2 + v^2 <= r^2. F_r is a combination of at most 2 r + 1 columns, which bounds its rank. Each plane goes through BLAS calls
of its own, so its bits do not depend on the batch.
"""

import functools
from types import ModuleType

import numpy as np

from pipeline.numerics import rounding
from pipeline.numerics.solved import EXACT_TIE, TIE
from pipeline.numerics.svd import Array, Truncation, to_host


def lowpass(planes: Array, radius: int, xp: ModuleType = np) -> Truncation:
    """Keeps the frequencies (u, v) with u^2 + v^2 <= radius^2, u and v in periods per height and per width.

    Sums of few cosines meet rounding ties exactly: half of a chequerboard is 127.5. Every arithmetic leaves other last bits
    there. So a value within ``EXACT_TIE`` of a half is set to that half, and rounds to the even side on every backend.

    Args:
        planes: float64 (p, h, w), grey levels 0..255.
        radius: at least 0.
        xp: the array namespace of ``planes``.

    Returns:
        The planes, float64; whole grey levels, int16; and the number of subpixels near a tie. The other counts are zero.
    """
    _, height, width = planes.shape
    (columns, u), (rows, v) = _basis(height, radius), _basis(width, radius)
    left, right, disc = (xp.asarray(array) for array in (columns, rows, u[:, None] ** 2 + v**2 <= radius**2))
    smooth = left @ ((left.T @ planes @ right) * disc) @ right.T
    rounded, margin, near = rounding.round_planes(smooth, TIE, xp)
    for plane in np.flatnonzero(to_host(margin < EXACT_TIE)):
        halves = xp.rint(2 * smooth[plane]) / 2
        smooth[plane] = xp.where(xp.abs(smooth[plane] - halves) < EXACT_TIE, halves, smooth[plane])
        rounded[plane] = xp.rint(smooth[plane])
    return Truncation(smooth, rounded, int(near.sum()), 0, 0, 0)


@functools.lru_cache(maxsize=64)
def _basis(size: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the orthonormal cosines and sines of the frequencies up to ``radius``, and these frequencies.

    Returns:
        float64 (size, m), and int64 (m,).
    """
    steps = np.arange(size)
    columns, frequencies = [], []
    for frequency in range(min(radius, size // 2) + 1):
        angles = 2 * np.pi * (frequency * steps % size) / size
        cosine_only = frequency == 0 or 2 * frequency == size  # the sine is zero everywhere
        for wave in (np.cos,) if cosine_only else (np.cos, np.sin):
            columns.append(wave(angles) * np.sqrt((1 if cosine_only else 2) / size))
            frequencies.append(frequency)
    return np.stack(columns, axis=1), np.array(frequencies)
