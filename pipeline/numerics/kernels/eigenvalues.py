"""All eigenvalues of eight symmetric tridiagonal matrices, by the root-free QR iteration of Pal, Walker and Kahan.

Source: LAPACK's ``dsterf``; Parlett, The Symmetric Eigenvalue Problem, section 8.15. A sweep is one QR step with
Wilkinson's shift on d (diagonal) and q (squares of the off-diagonal). It begins with gamma = d_0 - shift and p =
gamma^2. For each row i, with r = p + q_i, the rotation's cosine and sine have the squares c = p / r and s = q_i / r,
and no square root is needed:

    q_{i-1} = s_before r,  gamma_next = c (d_{i+1} - shift) - s gamma,  d_i = gamma + (d_{i+1} - gamma_next),
    p = gamma_next^2 / c.

The last eigenvalue of a block converges, and the block becomes one row shorter. It has converged where q is below
dsterf's bound, relative to the two diagonal elements beside it. It also has where the off-diagonal element is below
eps / 8 of the largest element: values near zero would hardly meet the relative bound, and the reduction to tridiagonal
form has already left larger errors.

``dsterf`` scales matrices whose squares could overflow or underflow. Elements of T are at most 1.5e13 here, so their
squares are far from it, and ``tiny`` bounds gamma from below. The matrices step together, each with its own block:
lanes beyond the end of their block compute numbers that are not stored. Unlike ``dsterf`` this does not split a
matrix at a small element in its middle, and always iterates from the top. A sweep takes most of its time waiting for
a division, so p and p + q_i are inverted by one: 1 / (p (p + q_i)).
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lanes import (
    LANES,
    absolute,
    any_lane,
    copy_sign,
    fma,
    larger,
    load,
    select,
    splat,
    square_root,
    store,
)

SWEEPS = 30  # for each row, as in dsterf
_UNIT = 2.0**-53


@step
def eigenvalues(diagonal: Any, beside: Any, n: int, values: Any, squares: Any, ends: Any, state: Any) -> None:
    """Computes all eigenvalues of tridiagonal matrices, in descending order.

    Args:
        diagonal: n vectors.
        beside: n - 1 vectors, the off-diagonal.
        n: number of rows.
        values: receives n vectors: NaN in the lanes that did not converge.
        squares: n vectors, workspace.
        ends: int64 (8,), workspace: the last row of each lane's block.
        state: 5 vectors, workspace: the bound for q, and what ``_deflate`` writes.
    """
    largest = splat(0.0)
    for i in range(n):
        d = load(diagonal, i * LANES)
        store(values, i * LANES, d)
        largest = larger(absolute(d), largest)
        if i < n - 1:
            b = load(beside, i * LANES)
            store(squares, i * LANES, b * b)
            largest = larger(absolute(b), largest)
    small, tiny = splat(0.25 * _UNIT) * largest, splat(1e-30) * largest
    store(state, 0, small * small)
    tiny = larger(tiny, splat(1e-100))
    for k in range(LANES):
        ends[k] = n - 1
    for _ in range(SWEEPS * n):
        top = _deflate(values, squares, ends, state)
        if top == 0:
            break
        _sweep(values, squares, top, tiny, state)
    for k in range(LANES):
        if ends[k]:  # what depends on one lane fails in this lane alone
            for i in range(n):
                values[i * LANES + k] = float("nan")
    _sort(values, n)


@step
def _deflate(values: Any, squares: Any, ends: Any, state: Any) -> int:
    """Shortens each lane's block by its converged eigenvalues. Returns the end of the longest block.

    Writes to ``state`` for each lane: the last two diagonal elements, the square beside them, and the end of the block.
    """
    top = 0
    for k in range(LANES):
        end = ends[k]
        while end > 0:
            square = squares[(end - 1) * LANES + k]
            product = abs(values[(end - 1) * LANES + k] * values[end * LANES + k])
            if square <= state[k] or square <= _UNIT * _UNIT * product:
                end -= 1
            else:
                break
        ends[k] = end
        top = max(top, end)
        state[LANES + k] = values[end * LANES + k]
        state[2 * LANES + k] = values[(end - 1) * LANES + k] if end else 0.0
        state[3 * LANES + k] = squares[(end - 1) * LANES + k] if end else 1.0
        state[4 * LANES + k] = end
    return top


@step
def _sweep(values: Any, squares: Any, top: int, tiny: Any, state: Any) -> None:
    """Takes one QR step in every lane, on its rows 0 to the end of its block.

    Where gamma is zero, ``dsterf`` branches. Here it becomes ``tiny``, so that p = gamma^2 / c is never zero. Both must
    change together: with p alone, the step would be no rotation.
    """
    zero, one = splat(0.0), splat(1.0)
    last, end = load(state, LANES), load(state, 4 * LANES)
    root = square_root(load(state, 3 * LANES))
    half = (load(state, 2 * LANES) - last) / (root + root)
    shift = last - root / (half + copy_sign(square_root(fma(half, half, one)), half))
    gamma = load(values, 0) - shift
    gamma = select(absolute(gamma) > tiny, gamma, copy_sign(tiny, gamma))
    p = gamma * gamma
    sine = zero
    row = 0.0
    for i in range(top):
        inside = splat(row) < end
        row += 1.0
        square = load(squares, i * LANES)
        r = p + square
        both = one / (p * r)
        inverse = both * p
        if i > 0:
            store(squares, (i - 1) * LANES, select(inside, sine * r, load(squares, (i - 1) * LANES)))
        d = load(values, (i + 1) * LANES)
        numerator = fma(p, d - shift, -(square * gamma))
        sine = square * inverse
        following = numerator * inverse
        large = absolute(following) > tiny
        following = select(large, following, copy_sign(tiny, following))
        store(values, i * LANES, select(inside, gamma + (d - following), load(values, i * LANES)))
        gamma = following
        p = select(large, numerator * numerator, (tiny * tiny) * (r * r)) * both  # gamma^2 / c, with c = p / r
        ending = splat(row) == end
        if any_lane(ending):
            store(squares, i * LANES, select(ending, sine * p, load(squares, i * LANES)))
            store(values, (i + 1) * LANES, select(ending, shift + gamma, load(values, (i + 1) * LANES)))


@step
def _sort(values: Any, n: int) -> None:
    """Sorts each lane in descending order, by insertion: QR leaves them nearly sorted."""
    for k in range(LANES):
        for i in range(1, n):
            value = values[i * LANES + k]
            to = i
            while to > 0 and values[(to - 1) * LANES + k] < value:
                values[to * LANES + k] = values[(to - 1) * LANES + k]
                to -= 1
            values[to * LANES + k] = value
