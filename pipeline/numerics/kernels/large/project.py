"""Moves a plane into strips of lanes, and projects it onto its singular vectors.

Let X be the plane with its smaller side as rows: n x m, X = A for a wide plane, otherwise X = A^T. With eigenvectors Z of
X X^T, the rows of S = Z^T X are the singular vectors of the larger side, times their singular values.

A strip holds eight neighbouring columns of a matrix, row after row: entry (r, c) of a matrix with n rows is element
8 (n (c / 8) + r) + c % 8. A loop over the rows of a strip reads memory in order.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled
from pipeline.numerics.kernels.lane_transfer import spread_bytes, transpose_block
from pipeline.numerics.kernels.lanes import LANES, fma, load, splat, spread, store


@compiled
def fill_strips(pixels: Any, first: int, height: int, width: int, strips: Any) -> None:
    """Writes X to strips.

    Args:
        pixels: uint8, flat planes.
        first: index of the plane's first pixel.
        height, width: of the plane.
        strips: float64 (m / 8 rounded up, n, 8); columns from m on become zero.
    """
    starts = np.empty(LANES, np.int64)
    wide = width > height
    n, m = (height, width) if wide else (width, height)
    row_step, column_step = (width, 1) if wide else (1, width)
    for c in range(0, m, LANES):
        whole = 0  # rows that are converted eight at a time
        if not wide and c + LANES <= m:
            whole = n & ~7
            for k in range(LANES):
                starts[k] = first + (c + k) * width
            for r in range(0, whole, LANES):
                spread_bytes(pixels, starts, r, strips, (c // LANES * n + r) * LANES, LANES)
        for r in range(whole, n):
            at, pixel = (c // LANES * n + r) * LANES, first + r * row_step + c * column_step
            for k in range(LANES):
                strips[at + k] = pixels[pixel + k * column_step] if c + k < m else 0.0


@compiled
def transpose_vectors(vectors: Any, n: int, count: int, strips: Any) -> None:
    """Writes vectors to strips of eight of their entries.

    Args:
        vectors: float64 (count / 8, n, 8), eight vectors in the lanes.
        n: length of a vector.
        count: multiple of 8.
        strips: float64 (n / 8 rounded up, count, 8); entries from n on become zero.
    """
    for j in range(0, count, LANES):
        for i in range(0, n, LANES):
            to = (i // LANES * count + j) * LANES
            if i + LANES <= n:
                transpose_block(vectors, j * n + i * LANES, strips, to)
            else:
                for k in range(LANES):
                    for lane in range(LANES):
                        at = j * n + (i + lane) * LANES + k
                        strips[to + k * LANES + lane] = vectors[at] if i + lane < n else 0.0


@compiled
def project(strips: Any, n: int, m: int, vectors: Any, count: int, projected: Any) -> None:
    """Computes S = Z^T X in blocks of four rows and eight columns.

    Args:
        strips: float64 (m / 8, n, 8), X.
        n: number of rows of X.
        m: number of columns of X.
        vectors: float64 (count / 8, n, 8), Z.
        count: multiple of 8.
        projected: float64 (m / 8, count, 8); receives S.
    """
    for c in range((m + LANES - 1) // LANES):
        for j in range(0, count, 4):
            s0 = s1 = s2 = s3 = splat(0.0)
            z = (j & ~7) * n + (j & 7)
            for r in range(n):
                x = load(strips, (c * n + r) * LANES)
                s0 = fma(spread(vectors, z + r * LANES), x, s0)
                s1 = fma(spread(vectors, z + r * LANES + 1), x, s1)
                s2 = fma(spread(vectors, z + r * LANES + 2), x, s2)
                s3 = fma(spread(vectors, z + r * LANES + 3), x, s3)
            to = (c * count + j) * LANES
            store(projected, to, s0)
            store(projected, to + LANES, s1)
            store(projected, to + 2 * LANES, s2)
            store(projected, to + 3 * LANES, s3)
