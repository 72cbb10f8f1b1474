"""Householder reduction of eight symmetric matrices to tridiagonal form, G = Q T Q^T, and products with Q.

Source: LAPACK's ``dsytd2``, ``dlarfg`` (reflectors) and ``dorm2r`` (products with Q); Golub and Van Loan, Matrix
Computations, section 8.3.1. Step j finds the reflector H = I - tau v v^T that maps column j to beta times a unit
vector. With y = G v and w = tau y - (tau^2 / 2) (y . v) v, the rest of the matrix becomes G - v w^T - w v^T.

``dsytd2`` reads the matrix twice in a step: for y, and to subtract. Here step j subtracts what step j - 1 left
pending while it reads the matrix for its own y. This halves the traffic, because eight matrices of 64 x 64 do not fit
a first-level cache.
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lanes import LANES, copy_sign, fma, load, select, splat, square_root, store
from pipeline.numerics.kernels.small import odd


@step
def reduce(gram: Any, n: int, diagonal: Any, beside: Any, scales: Any, v: Any, w: Any, y: Any) -> None:
    """Reduces matrices to tridiagonal form.

    Args:
        gram: (n, n) vectors, the upper triangle. Row j receives the reflector v of step j from column j + 2 on; v is 1 in
            column j + 1, and 0 before it.
        n: number of rows.
        diagonal: receives n vectors, the diagonal of T.
        beside: receives n - 1 vectors, the off-diagonal of T.
        scales: receives tau of each reflector, n - 2 vectors.
        v, w, y: n vectors each, workspace.
    """
    zero = splat(0.0)
    for i in range(n):
        store(v, i * LANES, zero)
        store(w, i * LANES, zero)
    for j in range(n - 2):
        row = j * n
        # Bring row j up to date.
        v0, w0 = -load(v, j * LANES), -load(w, j * LANES)
        rest = zero
        for i in range(j, n):
            g = fma(v0, load(w, i * LANES), fma(w0, load(v, i * LANES), load(gram, (row + i) * LANES)))
            store(gram, (row + i) * LANES, g)
            if i > j + 1:
                rest = fma(g, g, rest)
        store(diagonal, j * LANES, load(gram, row * LANES + j * LANES))
        scale = _reflector(gram, row, j, n, rest, beside, scales)
        _subtract_and_multiply(gram, row, j + 1, n, v, w, y)
        # w of this step
        product = zero
        for i in range(j + 1, n):
            product = fma(load(y, i * LANES), load(gram, (row + i) * LANES), product)
        half = splat(-0.5) * scale * scale * product
        for i in range(j + 1, n):
            vi = load(gram, (row + i) * LANES)
            store(v, i * LANES, vi)
            store(w, i * LANES, fma(half, vi, scale * load(y, i * LANES)))
    for j in range(max(n - 2, 0), n):
        for i in range(j, n):
            g, vi, wi = load(gram, (j * n + i) * LANES), load(v, i * LANES), load(w, i * LANES)
            g = fma(-load(v, j * LANES), wi, fma(-load(w, j * LANES), vi, g))
            store(diagonal if i == j else beside, j * LANES, g)


@step
def _reflector(gram: Any, row: int, j: int, n: int, rest: Any, beside: Any, scales: Any) -> Any:
    """Computes the reflector of step j (``dlarfg``) in place, with v = 1 in column j + 1. Returns tau.

    Args:
        gram: the matrices.
        row: index of row j, in vectors.
        j: the step.
        n: number of rows.
        rest: sum of the squares of row j from column j + 2 on. Where it is zero there is nothing to reflect: tau is 0.
        beside: receives the element of the off-diagonal.
        scales: receives tau.
    """
    zero, one = splat(0.0), splat(1.0)
    alpha = load(gram, (row + j + 1) * LANES)
    flat = rest == zero
    beta = select(flat, alpha, -copy_sign(square_root(fma(alpha, alpha, rest)), alpha))
    scale = select(flat, zero, (beta - alpha) / select(flat, one, beta))
    inverse = one / select(flat, one, alpha - beta)
    store(beside, j * LANES, beta)
    store(scales, j * LANES, scale)
    store(gram, (row + j + 1) * LANES, one)
    for i in range(j + 2, n):
        store(gram, (row + i) * LANES, load(gram, (row + i) * LANES) * inverse)
    return scale


@step
def _subtract_and_multiply(gram: Any, row: int, first: int, n: int, v: Any, w: Any, y: Any) -> None:
    """Subtracts v w^T + w v^T from the rows and columns from ``first`` on, and computes y = G u, in one pass.

    Args:
        gram: the matrices, of which the upper triangle is stored.
        row: index of u in ``gram``, in vectors: the reflector of this step.
        first: first row.
        n: number of rows.
        v, w: n vectors, of the step before.
        y: receives n vectors.
    """
    for i in range(first, n):
        store(y, i * LANES, splat(0.0))
    for c in range(first, n - 1, 2):  # two rows at a time
        r0, r1 = c * n, (c + 1) * n
        v0, v1 = -load(v, c * LANES), -load(v, (c + 1) * LANES)
        w0, w1 = -load(w, c * LANES), -load(w, (c + 1) * LANES)
        u0, u1 = load(gram, (row + c) * LANES), load(gram, (row + c + 1) * LANES)
        corner = fma(v0, load(w, c * LANES), fma(w0, load(v, c * LANES), load(gram, (r0 + c) * LANES)))
        store(gram, (r0 + c) * LANES, corner)
        vi, wi = load(v, (c + 1) * LANES), load(w, (c + 1) * LANES)
        cross = fma(v0, wi, fma(w0, vi, load(gram, (r0 + c + 1) * LANES)))
        store(gram, (r0 + c + 1) * LANES, cross)
        t0 = fma(corner, u0, cross * u1)
        corner = fma(v1, wi, fma(w1, vi, load(gram, (r1 + c + 1) * LANES)))
        store(gram, (r1 + c + 1) * LANES, corner)
        t1 = fma(cross, u0, corner * u1)
        for i in range(c + 2, n):
            vi, wi, ui = load(v, i * LANES), load(w, i * LANES), load(gram, (row + i) * LANES)
            g0 = fma(v0, wi, fma(w0, vi, load(gram, (r0 + i) * LANES)))
            g1 = fma(v1, wi, fma(w1, vi, load(gram, (r1 + i) * LANES)))
            store(gram, (r0 + i) * LANES, g0)
            store(gram, (r1 + i) * LANES, g1)
            t0, t1 = fma(g0, ui, t0), fma(g1, ui, t1)
            store(y, i * LANES, fma(g0, u0, fma(g1, u1, load(y, i * LANES))))
        store(y, c * LANES, load(y, c * LANES) + t0)
        store(y, (c + 1) * LANES, load(y, (c + 1) * LANES) + t1)
    if (n - first) % 2:
        c = n - 1
        vc, wc = load(v, c * LANES), load(w, c * LANES)
        corner = fma(-vc, wc, fma(-wc, vc, load(gram, (c * n + c) * LANES)))
        store(gram, (c * n + c) * LANES, corner)
        store(y, c * LANES, fma(corner, load(gram, (row + c) * LANES), load(y, c * LANES)))


@step
def multiply_by_q(gram: Any, scales: Any, n: int, vectors: Any, count: int, pairs: Any) -> None:
    """Multiplies vectors by Q = H_0 H_1 ... H_{n-3}, in place.

    Two reflectors are applied together, to two vectors at a time, so that each entry is read and written half as often:
    H_i H_j z = z - s v_j - r v_i, with s = tau_j (v_j . z) and r = tau_i (v_i . z - s (v_i . v_j)).

    Args:
        gram, scales: the reflectors, from ``reduce``.
        n: number of rows.
        vectors: (count, odd(n)) vectors.
        count: number of vectors of each matrix.
        pairs: n vectors, workspace.
    """
    zero = splat(0.0)
    for j in range(n - 3, 0, -2):
        product = zero
        for i in range(j + 1, n):
            product = fma(load(gram, (j * n + i) * LANES), load(gram, ((j - 1) * n + i) * LANES), product)
        store(pairs, j * LANES, product)
    for first in range(0, count, 2):
        z0, z1 = first * odd(n), min(first + 1, count - 1) * odd(n)
        for j in range(n - 3, 0, -2):
            r0, r1 = j * n, (j - 1) * n
            a0, a1 = load(vectors, (z0 + j) * LANES), load(vectors, (z1 + j) * LANES)  # where v_{j-1} is 1
            s0, s1, q0, q1 = zero, zero, a0, a1
            for i in range(j + 1, n):
                x, y = load(gram, (r0 + i) * LANES), load(gram, (r1 + i) * LANES)
                b0, b1 = load(vectors, (z0 + i) * LANES), load(vectors, (z1 + i) * LANES)
                s0, s1 = fma(x, b0, s0), fma(x, b1, s1)
                q0, q1 = fma(y, b0, q0), fma(y, b1, q1)
            scale, scale1, pair = -load(scales, j * LANES), -load(scales, (j - 1) * LANES), load(pairs, j * LANES)
            s0, s1 = s0 * scale, s1 * scale
            q0, q1 = fma(pair, s0, q0) * scale1, fma(pair, s1, q1) * scale1
            store(vectors, (z0 + j) * LANES, a0 + q0)
            store(vectors, (z1 + j) * LANES, a1 + q1)
            for i in range(j + 1, n):
                x, y = load(gram, (r0 + i) * LANES), load(gram, (r1 + i) * LANES)
                b0 = fma(x, s0, fma(y, q0, load(vectors, (z0 + i) * LANES)))
                b1 = fma(x, s1, fma(y, q1, load(vectors, (z1 + i) * LANES)))
                store(vectors, (z0 + i) * LANES, b0)
                store(vectors, (z1 + i) * LANES, b1)
        if n > 2 and n % 2:  # an odd number of reflectors
            s0 = s1 = zero
            for i in range(1, n):
                x = load(gram, i * LANES)
                s0, s1 = fma(x, load(vectors, (z0 + i) * LANES), s0), fma(x, load(vectors, (z1 + i) * LANES), s1)
            scale = -load(scales, 0)
            s0, s1 = s0 * scale, s1 * scale
            for i in range(1, n):
                x = load(gram, i * LANES)
                b0, b1 = fma(x, s0, load(vectors, (z0 + i) * LANES)), fma(x, s1, load(vectors, (z1 + i) * LANES))
                store(vectors, (z0 + i) * LANES, b0)
                store(vectors, (z1 + i) * LANES, b1)
