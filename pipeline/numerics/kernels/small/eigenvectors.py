"""Leading eigenvectors of eight symmetric tridiagonal matrices T, by twisted factorisation, and two measures of their
error.

Source: Dhillon, "A new O(n^2) algorithm for the symmetric tridiagonal eigenvalue/eigenvector problem", PhD thesis,
Berkeley, 1997, section 3.1. T - lambda I is factorised from the top (pivots p_i) and from the bottom (pivots m_i). The
two factorisations meet at the row where the joint pivot |p_i + m_i - (T_ii - lambda)| is smallest. The vector is 1 at
that row, and the other entries follow from it, upwards and downwards. Each vector is computed independently of the
others, so vectors of close eigenvalues may not be orthogonal: ``_skew`` measures that.
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lanes import (
    LANES,
    absolute,
    any_lane,
    fma,
    larger,
    load,
    select,
    splat,
    square_root,
    store,
)
from pipeline.numerics.kernels.small import odd
from pipeline.numerics.solved import CLOSE, EPS, FAINT, NEIGHBOURS, TINY


@step
def eigenvectors(
    diagonal: Any, beside: Any, n: int, values: Any, count: int, vectors: Any, above: Any, below: Any, errors: Any
) -> None:
    """Computes unit eigenvectors.

    Args:
        diagonal, beside: T, n and n - 1 vectors.
        n: number of rows.
        values: n vectors, the eigenvalues in descending order.
        count: number of eigenvectors.
        vectors: receives (count, odd(n)) vectors.
        above, below: n vectors each, workspace.
        errors: receives (count, 2) vectors: the largest residual, and the largest skew, of the vectors up to this one
            (``solved.Solved``).
    """
    residual = skew = splat(0.0)
    for j in range(count):
        shift = load(values, j * LANES)
        _factorise(diagonal, beside, n, shift, above, below)
        _join(diagonal, beside, n, shift, above, below, vectors, j * odd(n))
        error = _residual(diagonal, beside, n, shift, vectors, j * odd(n))
        residual = select(error <= residual, residual, error)  # also NaN
        closest = _skew(vectors, j, n, values)
        skew = select(closest <= skew, skew, closest)
        store(errors, 2 * j * LANES, residual)
        store(errors, (2 * j + 1) * LANES, skew)


@step
def _factorise(diagonal: Any, beside: Any, n: int, shift: Any, above: Any, below: Any) -> None:
    """Eliminates T - lambda I from the top and from the bottom (Dhillon: the stationary and the progressive form).

    Args:
        diagonal, beside, n: T.
        shift: lambda.
        above: receives the multiplier of row i: below the twist z_{i+1} is free, above it z_i = -above_i z_{i+1}.
        below: the same from the bottom: z_i = -below_i z_{i-1}.
    """
    one, tiny = splat(1.0), splat(TINY)
    pivot = load(diagonal, 0) - shift
    pivot1 = load(diagonal, (n - 1) * LANES) - shift
    for i in range(n - 1):
        k = n - 1 - i
        b, b1 = load(beside, i * LANES), load(beside, (k - 1) * LANES)
        f = b * (one / select(absolute(pivot) > tiny, pivot, tiny))
        f1 = b1 * (one / select(absolute(pivot1) > tiny, pivot1, tiny))
        store(above, i * LANES, f)
        store(below, k * LANES, f1)
        pivot = fma(-b, f, load(diagonal, (i + 1) * LANES) - shift)
        pivot1 = fma(-b1, f1, load(diagonal, (k - 1) * LANES) - shift)


@step
def _join(diagonal: Any, beside: Any, n: int, shift: Any, above: Any, below: Any, vectors: Any, to: int) -> None:
    """Writes a unit vector from both factorisations.

    Args:
        diagonal, beside, n, shift, above, below: see ``_factorise``.
        vectors: receives n vectors.
        to: index of the first, in vectors.
    """
    zero, one = splat(0.0), splat(1.0)
    least, twist = splat(1e300), zero
    row = 0.0
    for i in range(n):
        joint = load(diagonal, i * LANES) - shift
        if i > 0:
            joint = fma(-load(beside, (i - 1) * LANES), load(above, (i - 1) * LANES), joint)
        if i < n - 1:
            joint = fma(-load(beside, i * LANES), load(below, (i + 1) * LANES), joint)
        joint = absolute(joint)
        smaller = joint < least
        least, twist = select(smaller, joint, least), select(smaller, splat(row), twist)
        row += 1.0
    z = square = zero
    for i in range(n):  # downwards from the twist; zero before it
        here = splat(float(i))
        if i > 0:
            z = -load(below, i * LANES) * z
        z = select(here == twist, one, z)
        store(vectors, (to + i) * LANES, z)
        square = fma(z, z, square)
    z = zero
    for i in range(n - 1, -1, -1):  # upwards
        if i < n - 1:
            z = select(splat(float(i)) < twist, -load(above, i * LANES) * z, load(vectors, (to + i) * LANES))
            square = select(splat(float(i)) < twist, fma(z, z, square), square)
        else:
            z = load(vectors, (to + i) * LANES)
        store(vectors, (to + i) * LANES, z)
    inverse, faint = one / square_root(square), splat(FAINT)
    for i in range(n):
        z = load(vectors, (to + i) * LANES) * inverse
        store(vectors, (to + i) * LANES, select(absolute(z) > faint, z, zero))


@step
def _residual(diagonal: Any, beside: Any, n: int, shift: Any, vectors: Any, at: int) -> Any:
    """Returns |T z - lambda z| of the vector that begins at ``at``, in vectors.

    In exact arithmetic it is the joint pivot over |z|. It is computed from the vector itself, so that it also notices a
    factorisation that failed.
    """
    square = before = splat(0.0)
    z = load(vectors, at * LANES)
    for i in range(n):
        error, after = (load(diagonal, i * LANES) - shift) * z, z
        if i > 0:
            error = fma(load(beside, (i - 1) * LANES), before, error)
        if i < n - 1:
            after = load(vectors, (at + i + 1) * LANES)
            error = fma(load(beside, i * LANES), after, error)
        square = fma(error, error, square)
        before, z = z, after
    return square_root(square)


@step
def _skew(vectors: Any, j: int, n: int, values: Any) -> Any:
    """Returns the largest |<z_i, z_j>| sqrt(max(lambda_i, 1)) of vector j and those before it; NaN where one is NaN.

    Those are its ``NEIGHBOURS``, and all whose eigenvalues are close (``solved.CLOSE``): where T splits into blocks with a
    common eigenvalue, two vectors may be equal although those between them are orthogonal to both.

    Pairs do not count where lambda_i, the larger eigenvalue, cannot be distinguished from zero: a cut with such vectors
    is the plane itself (``cpu``).
    """
    noise, close = splat(EPS * n) * load(values, 0), splat(CLOSE) * load(values, 0)
    one, zero = splat(1.0), splat(0.0)
    worst, last = zero, load(values, j * LANES)
    for i in range(j):
        value = load(values, i * LANES)
        level = square_root(larger(value, one))
        apart = value - last >= close * level
        if j - i > NEIGHBOURS:
            if not any_lane(~apart):
                continue
        else:
            apart = zero > one
        product = zero
        for k in range(n):
            product = fma(load(vectors, (j * odd(n) + k) * LANES), load(vectors, (i * odd(n) + k) * LANES), product)
        product = select(apart | (value <= noise), zero, absolute(product) * level)
        worst = select(product <= worst, worst, product)
    return worst
