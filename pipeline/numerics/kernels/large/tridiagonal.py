"""Reduces a symmetric matrix to tridiagonal form, G = Q T Q^T, with Householder reflectors.

The algorithm is LAPACK's dsytrd with dlatrd (Dongarra, Sorensen and Hammarling, "Block reduction of matrices to condensed
forms for eigenvalue computations", 1989). Reflector j, H = I - tau v v^T, makes row j zero beyond the first off-diagonal
entry. Applying it at once would read and write the whole remaining matrix for every row. Instead the reflectors of a panel
of ``PANEL`` rows are collected. With w = tau G v - (tau^2 / 2) (v^T G v) v, a reflector changes the matrix by
-(v w^T + w v^T). So a row is brought up to date only when its turn comes, the product G v is corrected by the earlier
reflectors of the panel, and the remaining matrix is updated once per panel.

Half of the arithmetic is the product G v, which is bound by reading the matrix. It reads each entry of the upper triangle
once and uses it for both rows that share it.

Storage: ``matrix`` holds rows of ``stride`` numbers. Of row c only the entries from column c, rounded down to a multiple of
8, are used, so the 8 x 8 blocks on the diagonal are complete. Rows and columns from n to the next multiple of 8 are zero.
Afterwards row j holds the vector v of reflector j from the same column on: zeros up to column j, then 1. The panel holds
the vectors -w, so that every change is an addition.

Blocks of four rows and eight columns need eight registers of AVX2 for their sums, and leave eight for the operands.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels.lanes import LANES, fma, load, splat, spread, store, total, totals

PANEL = 8  # rows of a panel; a multiple of LANES


@step
def _dot(left: Any, left_at: int, right: Any, right_at: int, count: int) -> float:
    """Returns the dot product of two vectors, whose length is a multiple of 8, in two partial sums per lane."""
    even, odd = splat(0.0), splat(0.0)
    i = 0
    while i + LANES < count:
        even = fma(load(left, left_at + i), load(right, right_at + i), even)
        odd = fma(load(left, left_at + i + LANES), load(right, right_at + i + LANES), odd)
        i += 2 * LANES
    if i < count:
        even = fma(load(left, left_at + i), load(right, right_at + i), even)
    product: float = total(even + odd)
    return product


@step
def _current_row(matrix: Any, panel: Any, stride: int, end: int, first: int, count: int, j: int, row: Any) -> None:
    """Writes row j, changed by ``count`` reflectors of the panel that begins with row ``first``, to ``row``."""
    start = j & ~7
    for i in range(start, end, LANES):
        store(row, i, load(matrix, j * stride + i))
    for q in range(count):
        v, w = (first + q) * stride, q * stride
        v_j, w_j = spread(matrix, v + j), spread(panel, w + j)
        for i in range(start, end, LANES):
            change = fma(v_j, load(panel, w + i), load(row, i))
            store(row, i, fma(w_j, load(matrix, v + i), change))


@step
def _reflector(row: Any, j: int, end: int, matrix: Any, at: int) -> tuple[float, float]:
    """Computes the reflector that makes row j zero beyond column j + 1 (LAPACK's dlarfg).

    Args:
        row: row j; what lies before column j + 2 is cleared.
        j: index of the row.
        end: multiple of 8 up to which the row is stored.
        matrix: receives v.
        at: where row j begins in ``matrix``.

    Returns:
        The off-diagonal entry of T, and tau.
    """
    alpha = row[j + 1]
    start = j & ~7
    for i in range(start, j + 2):
        row[i] = 0.0
    rest = _dot(row, start, row, start, end - start)
    beta, tau, scale = alpha, 0.0, 0.0
    if rest > 0.0:
        beta = -np.copysign(np.sqrt(alpha * alpha + rest), alpha)
        tau = (beta - alpha) / beta
        scale = 1.0 / (alpha - beta)
    factor = splat(scale)
    for i in range(start, end, LANES):
        store(matrix, at + i, load(row, i) * factor)
    matrix[at + j + 1] = 1.0
    return beta, tau


@step
def _symmetric_product(matrix: Any, stride: int, end: int, start: int, at: int, sums: Any, product: Any) -> None:
    """Writes G v to ``product``, for the rows and columns from ``start`` on (LAPACK's dsymv).

    Four rows at a time: their entries b of eight columns serve both sums, product[columns] += b v[rows] and
    product[rows] += b v[columns]. The second kind is summed in lanes, and the lanes are added at the end of the rows.

    Args:
        matrix: the rows not yet reduced, and v.
        stride: length of a stored row.
        end: multiple of 8 up to which rows are stored.
        start: multiple of 8.
        at: where v begins in ``matrix``.
        sums: workspace (8, 8).
        product: receives G v; before ``start`` it is not changed.
    """
    for i in range(start, end, LANES):
        store(product, i, splat(0.0))
    for c in range(start, end, LANES):
        block = load(product, c)
        for r in range(c, c + LANES):  # the complete block on the diagonal
            block = fma(load(matrix, r * stride + c), spread(matrix, at + r), block)
        store(product, c, block)
        for half in range(0, LANES, 4):
            r = c + half
            row0 = r * stride
            row1, row2, row3 = row0 + stride, row0 + 2 * stride, row0 + 3 * stride
            v0, v1 = spread(matrix, at + r), spread(matrix, at + r + 1)
            v2, v3 = spread(matrix, at + r + 2), spread(matrix, at + r + 3)
            sum0 = sum1 = sum2 = sum3 = splat(0.0)
            for i in range(c + LANES, end, LANES):
                v = load(matrix, at + i)
                b = load(matrix, row0 + i)
                sum0 = fma(b, v, sum0)
                y = fma(b, v0, load(product, i))
                b = load(matrix, row1 + i)
                sum1 = fma(b, v, sum1)
                y = fma(b, v1, y)
                b = load(matrix, row2 + i)
                sum2 = fma(b, v, sum2)
                y = fma(b, v2, y)
                b = load(matrix, row3 + i)
                sum3 = fma(b, v, sum3)
                store(product, i, fma(b, v3, y))
            store(sums, half * LANES, sum0)
            store(sums, half * LANES + LANES, sum1)
            store(sums, half * LANES + 2 * LANES, sum2)
            store(sums, half * LANES + 3 * LANES, sum3)
        columns = totals(
            load(sums, 0), load(sums, 8), load(sums, 16), load(sums, 24),
            load(sums, 32), load(sums, 40), load(sums, 48), load(sums, 56),
        )  # fmt: skip
        store(product, c, load(product, c) + columns)


@step
def _change(matrix: Any, panel: Any, stride: int, end: int, first: int, j: int, tau: float, product: Any) -> None:
    """Writes -w of reflector j to the panel, from G v of the matrix as it was at the start of the panel."""
    start, at, count = (j + 1) & ~7, j * stride, j - first
    for q in range(count):
        v, w = (first + q) * stride, q * stride
        v_sum, w_sum = splat(0.0), splat(0.0)
        for i in range(start, end, LANES):
            x = load(matrix, at + i)
            v_sum = fma(x, load(matrix, v + i), v_sum)
            w_sum = fma(x, load(panel, w + i), w_sum)
        v_dot, w_dot = splat(total(v_sum)), splat(total(w_sum))
        for i in range(start, end, LANES):
            y = fma(w_dot, load(matrix, v + i), load(product, i))
            store(product, i, fma(v_dot, load(panel, w + i), y))
    for i in range(start, j + 1):  # not part of the remaining matrix
        product[i] = 0.0
    square = _dot(product, start, matrix, at + start, end - start)
    along, scale = splat(0.5 * tau * tau * square), splat(-tau)
    for i in range(start, end, LANES):
        store(panel, count * stride + i, fma(along, load(matrix, at + i), scale * load(product, i)))


@step
def _update(matrix: Any, panel: Any, stride: int, end: int, first: int, start: int) -> None:
    """Applies the reflectors of a whole panel to the rows from ``start`` on (LAPACK's dsyr2k)."""
    for r in range(start, end, 4):
        row0 = r * stride
        row1, row2, row3 = row0 + stride, row0 + 2 * stride, row0 + 3 * stride
        for i in range(r & ~7, end, LANES):
            a0, a1 = load(matrix, row0 + i), load(matrix, row1 + i)
            a2, a3 = load(matrix, row2 + i), load(matrix, row3 + i)
            for q in range(PANEL):
                v, w = (first + q) * stride, q * stride
                x = load(panel, w + i)
                a0 = fma(spread(matrix, v + r), x, a0)
                a1 = fma(spread(matrix, v + r + 1), x, a1)
                a2 = fma(spread(matrix, v + r + 2), x, a2)
                a3 = fma(spread(matrix, v + r + 3), x, a3)
                x = load(matrix, v + i)
                a0 = fma(spread(panel, w + r), x, a0)
                a1 = fma(spread(panel, w + r + 1), x, a1)
                a2 = fma(spread(panel, w + r + 2), x, a2)
                a3 = fma(spread(panel, w + r + 3), x, a3)
            store(matrix, row0 + i, a0)
            store(matrix, row1 + i, a1)
            store(matrix, row2 + i, a2)
            store(matrix, row3 + i, a3)


@compiled
def reduce_to_tridiagonal(matrix: Any, stride: int, diagonal: Any, beside: Any, scales: Any, work: Any) -> None:
    """Reduces a matrix to tridiagonal form, in place.

    Args:
        matrix: float64, n rows of G up to the next multiple of 8, of ``stride`` numbers; receives the reflectors.
        stride: from one row to the next.
        diagonal: (n,); receives the diagonal of T.
        beside: (n,); receives the off-diagonal of T in the first n - 1 entries.
        scales: (n,); receives tau of the n - 2 reflectors.
        work: workspace, float64, see ``work_size``.
    """
    n = diagonal.size
    end = (n + LANES - 1) // LANES * LANES
    row, panel, sums = work[:stride], work[stride : (PANEL + 1) * stride], work[(PANEL + 1) * stride :]
    first = 0
    for first in range(0, n - 2, PANEL):
        last = min(first + PANEL, n - 2)
        for j in range(first, last):
            _current_row(matrix, panel, stride, end, first, j - first, j, row)
            diagonal[j] = row[j]
            beside[j], scales[j] = _reflector(row, j, end, matrix, j * stride)
            _symmetric_product(matrix, stride, end, (j + 1) & ~7, j * stride, sums, row)
            _change(matrix, panel, stride, end, first, j, scales[j], row)
        if last < n - 2:
            _update(matrix, panel, stride, end, first, last)
    for j in range(n - 2, n):  # they need no reflector, but the changes of the last panel
        _current_row(matrix, panel, stride, end, first, n - 2 - first, j, row)
        diagonal[j] = row[j]
        beside[j] = row[n - 1]


def work_size(stride: int) -> int:
    """Returns the size of the workspace: a row, the vectors w of a panel, and 64 sums."""
    return (PANEL + 1) * stride + LANES * LANES
