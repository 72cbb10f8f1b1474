"""Measures how far eigenvectors are from exact: the residual, and the skew of close neighbours.

Twisted factorisation computes each vector independently of the others, so vectors of close eigenvalues may not be
orthogonal. In a cut, a pair z_i, z_j moves a pixel by up to |<z_i, z_j>| sigma_i grey levels: that is the skew. A pair does
not count where lambda_i cannot be distinguished from zero (at most n eps lambda_1): a cut with such vectors is the plane
itself (``cpu``). A rank above the rank of a plane has such vectors.

A vector is compared with the ``NEIGHBOURS`` before it, and with all whose eigenvalues are close (``solved.CLOSE``): where T
splits into blocks with a common eigenvalue, two vectors may be equal although those between them are orthogonal to both.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels.lanes import LANES, fma, load, splat, total
from pipeline.numerics.solved import CLOSE, EPS, NEIGHBOURS


@step
def _product(strips: Any, n: int, count: int, i: int, j: int) -> float:
    """Returns <z_i, z_j>."""
    even, odd = splat(0.0), splat(0.0)
    strip, size = 0, (n + LANES - 1) // LANES
    while strip + 1 < size:
        at = strip * count * LANES
        even = fma(load(strips, at + i * LANES), load(strips, at + j * LANES), even)
        at += count * LANES
        odd = fma(load(strips, at + i * LANES), load(strips, at + j * LANES), odd)
        strip += 2
    if strip < size:
        at = strip * count * LANES
        even = fma(load(strips, at + i * LANES), load(strips, at + j * LANES), even)
    product: float = total(even + odd)
    return product


@compiled
def measure(strips: Any, n: int, count: int, values: Any, residuals: Any, residual: Any, skew: Any) -> None:
    """Measures the vectors up to each vector.

    Args:
        strips: float64 (n / 8, count, 8), strips of the vectors.
        n: length of a vector.
        count: number of vectors in the strips.
        values: float64, eigenvalues, descending.
        residuals: float64 (count,), of each vector.
        residual: float64 (m,); receives the largest residual of the vectors 0 to j.
        skew: float64 (m,); receives their largest skew, in grey levels. Both are NaN where a vector is.
    """
    noise = n * EPS * values[0]
    largest, worst = 0.0, 0.0
    for j in range(residual.size):
        if residuals[j] > largest or np.isnan(residuals[j]):
            largest = residuals[j]
        for i in range(j):
            level = np.sqrt(max(values[i], 1.0))
            compared = j - i <= NEIGHBOURS or not values[i] - values[j] >= CLOSE * values[0] * level
            if compared and not values[i] <= noise:
                moved = abs(_product(strips, n, count, i, j)) * level
                if moved > worst or np.isnan(moved):
                    worst = moved
        residual[j], skew[j] = largest, worst
