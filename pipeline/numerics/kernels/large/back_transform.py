"""Multiplies eigenvectors of the tridiagonal matrix by Q (LAPACK's dormtr): the result are eigenvectors of G.

Q is the product of the reflectors H_j = I - tau_j v_j v_j^T of ``tridiagonal``, and the last reflector acts first. The lanes
hold eight vectors, and two groups of eight are transformed together. Two reflectors at a time halve the reading and writing
of the vectors:

    H_{j-1} H_j z = z + s v_j + r v_{j-1},  s = -tau_j v_j^T z,  r = -tau_{j-1} (v_{j-1}^T z + s v_{j-1}^T v_j).

(This is the compact WY form of two reflectors: Schreiber and Van Loan, 1989.)
"""

from typing import Any

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels.lanes import LANES, fma, load, splat, spread, store, total


@step
def _pair_products(reflectors: Any, n: int, stride: int, products: Any) -> None:
    """Writes v_{j-1}^T v_j of each pair to ``products[j]``."""
    end = (n + 7) & ~7
    for j in range(n - 3, 0, -2):
        lanes = splat(0.0)
        for i in range(j & ~7, end, LANES):
            lanes = fma(load(reflectors, j * stride + i), load(reflectors, (j - 1) * stride + i), lanes)
        products[j] = total(lanes)


@step
def _transform(
    reflectors: Any, scales: Any, n: int, stride: int, products: Any, vectors: Any, left: int, right: int
) -> None:
    """Transforms the two groups of eight vectors that begin at ``left`` and ``right``, which may be the same."""
    for j in range(n - 3, 0, -2):
        later, earlier = j * stride, (j - 1) * stride
        s_left = s_right = r_left = r_right = splat(0.0)
        for i in range(j, n):
            z_left, z_right = load(vectors, left + i * LANES), load(vectors, right + i * LANES)
            v = spread(reflectors, later + i)
            s_left, s_right = fma(v, z_left, s_left), fma(v, z_right, s_right)
            v = spread(reflectors, earlier + i)
            r_left, r_right = fma(v, z_left, r_left), fma(v, z_right, r_right)
        tau, product = splat(-scales[j]), splat(products[j])
        s_left, s_right = s_left * tau, s_right * tau
        tau = splat(-scales[j - 1])
        r_left, r_right = fma(product, s_left, r_left) * tau, fma(product, s_right, r_right) * tau
        for i in range(j, n):
            v, u = spread(reflectors, later + i), spread(reflectors, earlier + i)
            z_left = fma(v, s_left, fma(u, r_left, load(vectors, left + i * LANES)))
            z_right = fma(v, s_right, fma(u, r_right, load(vectors, right + i * LANES)))
            store(vectors, left + i * LANES, z_left)
            store(vectors, right + i * LANES, z_right)
    if n % 2:  # reflector 0 has no partner
        s_left = s_right = splat(0.0)
        for i in range(1, n):
            v = spread(reflectors, i)
            s_left = fma(v, load(vectors, left + i * LANES), s_left)
            s_right = fma(v, load(vectors, right + i * LANES), s_right)
        tau = splat(-scales[0])
        s_left, s_right = s_left * tau, s_right * tau
        for i in range(1, n):
            v = spread(reflectors, i)
            z_left = fma(v, s_left, load(vectors, left + i * LANES))
            z_right = fma(v, s_right, load(vectors, right + i * LANES))
            store(vectors, left + i * LANES, z_left)
            store(vectors, right + i * LANES, z_right)


@compiled
def multiply_by_q(reflectors: Any, scales: Any, stride: int, vectors: Any, count: int, products: Any) -> None:
    """Multiplies ``count`` vectors by Q, in place.

    Args:
        reflectors: float64 (n, stride), from ``reduce_to_tridiagonal``.
        scales: float64 (n,), tau of each reflector.
        stride: from one reflector to the next.
        vectors: float64 (count / 8, n, 8).
        count: multiple of 8.
        products: workspace, float64 (n,).
    """
    n = scales.size
    _pair_products(reflectors, n, stride, products)
    for j in range(0, count, 2 * LANES):
        right = j + LANES if j + LANES < count else j
        _transform(reflectors, scales, n, stride, products, vectors, j * n, right * n)
