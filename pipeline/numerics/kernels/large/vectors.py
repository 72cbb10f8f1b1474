"""Computes leading eigenvectors of a symmetric tridiagonal matrix T by twisted factorisation.

Source: Dhillon, "A new O(n^2) algorithm for the symmetric tridiagonal eigenvalue/eigenvector problem", PhD thesis, Berkeley,
1997, section 3.1. (LAPACK's dlar1v does the same with a factorisation L D L^T; here it is T itself.) T - lambda I is
factorised from the top (pivots p_i) and from the bottom (pivots m_i). The two meet in the row where the joint pivot
|p_i + m_i - (T_ii - lambda)| is smallest. The vector z is 1 in that row. Upwards z_i = -(e_i / p_i) z_{i+1}, and downwards
z_i = -(e_{i-1} / m_i) z_{i-1}. The residual |T z - lambda z| is measured from z, not derived from the joint pivot.

The eight lanes hold eight eigenvalues of one matrix. Each vector depends on its own eigenvalue alone, so vectors of close
eigenvalues may not be orthogonal: ``measures.py`` measures that.

Vectors of photographs decay quickly on both sides of the twist. Entries below ``FAINT`` become zero, because later steps
would turn them into denormal numbers, with which processors compute many times more slowly.
"""

from typing import Any

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels.lanes import LANES, absolute, fma, load, select, splat, spread, square_root, store
from pipeline.numerics.solved import FAINT, TINY


@step
def _factorise(diagonal: Any, beside: Any, n: int, values: Any, above: Any, below: Any) -> None:
    """Eliminates T - lambda I from the top and from the bottom (Dhillon: stationary and progressive forms).

    Args:
        diagonal: (n,) of T.
        beside: (n,), the off-diagonal of T; the last entry is not used.
        n: side of T.
        values: vector of eight eigenvalues.
        above: (n, 8); receives e_i / p_i.
        below: (n, 8); receives e_{i-1} / m_i.
    """
    one, tiny = splat(1.0), splat(TINY)  # a pivot that is NaN stays
    top, bottom = spread(diagonal, 0) - values, spread(diagonal, n - 1) - values
    for i in range(n - 1):
        k = n - 1 - i
        down, up = spread(beside, i), spread(beside, k - 1)
        down_ratio = down * (one / select(absolute(top) <= tiny, tiny, top))
        up_ratio = up * (one / select(absolute(bottom) <= tiny, tiny, bottom))
        store(above, i * LANES, down_ratio)
        store(below, k * LANES, up_ratio)
        top = (spread(diagonal, i + 1) - values) - down * down_ratio
        bottom = (spread(diagonal, k - 1) - values) - up * up_ratio


@step
def _twist(diagonal: Any, beside: Any, n: int, values: Any, above: Any, below: Any) -> Any:
    """Returns the row of the smallest joint pivot of each lane, as a float64."""
    least, row = splat(1e300), splat(0.0)
    for i in range(n):
        joint = spread(diagonal, i) - values
        if i > 0:
            joint = joint - spread(beside, i - 1) * load(above, (i - 1) * LANES)
        if i < n - 1:
            joint = joint - spread(beside, i) * load(below, (i + 1) * LANES)
        joint = absolute(joint)
        smaller = joint < least
        least = select(smaller, joint, least)
        row = select(smaller, splat(float(i)), row)
    return row


@step
def _vectors(n: int, row: Any, above: Any, below: Any, out: Any, at: int) -> Any:
    """Writes the vectors that are 1 in ``row`` to ``out`` (n, 8) from ``at`` on. Returns their squared lengths."""
    zero, one = splat(0.0), splat(1.0)
    before, square = zero, zero
    for i in range(n):
        here = splat(float(i))
        down = zero - load(below, i * LANES) * before if i > 0 else zero
        before = select(here == row, one, select(here > row, down, zero))
        store(out, at + i * LANES, before)
        square = fma(before, before, square)
    before = splat(0.0)
    for i in range(n - 1, -1, -1):
        up = splat(float(i)) < row
        entry = zero - load(above, i * LANES) * before if i < n - 1 else zero
        before = select(up, entry, load(out, at + i * LANES))
        square = select(up, fma(entry, entry, square), square)
        store(out, at + i * LANES, before)
    return square


@step
def _residual(diagonal: Any, beside: Any, n: int, values: Any, vectors: Any, at: int) -> Any:
    """Returns |T z - lambda z| of the eight vectors that begin at element ``at``.

    In exact arithmetic it is the joint pivot over |z|. It is computed from the vectors themselves, so that it also notices
    a factorisation that failed.
    """
    square = before = splat(0.0)
    z = load(vectors, at)
    for i in range(n):
        error, after = (spread(diagonal, i) - values) * z, z
        if i > 0:
            error = fma(spread(beside, i - 1), before, error)
        if i < n - 1:
            after = load(vectors, at + (i + 1) * LANES)
            error = fma(spread(beside, i), after, error)
        square = fma(error, error, square)
        before, z = z, after
    return square_root(square)


@compiled
def twisted_vectors(
    diagonal: Any, beside: Any, values: Any, count: int, vectors: Any, residuals: Any, work: Any
) -> None:
    """Writes unit eigenvectors of the ``count`` largest eigenvalues.

    Args:
        diagonal: float64 (n,).
        beside: float64 (n,), the off-diagonal; the last entry is not used.
        values: float64 (n + 7,), all eigenvalues, descending, then any finite numbers.
        count: multiple of 8.
        vectors: float64 (count / 8, n, 8); receives the vectors, eight of them in the lanes.
        residuals: float64 (count,); receives |T z - lambda z| of each vector.
        work: workspace, float64 (2, n, 8).
    """
    n = diagonal.size
    above, below = work[: n * LANES], work[n * LANES :]
    zero, faint = splat(0.0), splat(FAINT)
    for j in range(0, count, LANES):
        eight = load(values, j)
        _factorise(diagonal, beside, n, eight, above, below)
        row = _twist(diagonal, beside, n, eight, above, below)
        inverse = splat(1.0) / square_root(_vectors(n, row, above, below, vectors, j * n))
        for i in range(j * n, (j + LANES) * n, LANES):
            entry = load(vectors, i) * inverse
            store(vectors, i, select(absolute(entry) > faint, entry, zero))
        store(residuals, j, _residual(diagonal, beside, n, eight, vectors, j * n))
