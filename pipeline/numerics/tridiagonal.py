"""Eigenvectors of symmetric tridiagonal matrices from their eigenvalues, compiled by numba.

By twisted factorisation (Dhillon, "A new O(n^2) algorithm for the symmetric tridiagonal eigenvalue/eigenvector problem",
1997, section 3.1): T - lambda I is eliminated from the top and from the bottom; where the two meet best, at the row of the
least pivot, the vector is one, and from there it is solved for outwards. No vector depends on another one, so those of
close eigenvalues come out less than orthogonal: ``vectors`` says how much.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

_LANES = 8  # eigenvalues worked on side by side, in the processor's vector registers
_TINY = 1e-300  # in place of a pivot that is zero
_BEFORE = 4  # vectors that each one is held against: those of the eigenvalues nearest to its own


def vectors(diagonal: np.ndarray, beside: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Unit eigenvectors of one matrix. The bits of one do not depend on the others that are asked for.

    Args:
        diagonal, beside: float64 (n,) and (n - 1,), of the matrix.
        values: float64 (m,), some of its eigenvalues, descending, as LAPACK's dsterf gives them.

    Returns:
        the vectors (m, n) as rows; the largest |T z - lambda z|; and the largest |<z_i, z_j>| max(sqrt(lambda_i), 1) of
        close neighbours i < j, which is NaN where a vector could not be had.
    """
    found = np.empty((values.size, diagonal.size))
    residual = _compiled_solve(diagonal, beside, values, found)
    return found, residual, _compiled_skew(found, np.sqrt(np.maximum(values, 1.0)))


def _solve(diagonal: Any, beside: Any, values: Any, out: Any) -> float:
    n, count = diagonal.size, values.size
    above, below, shifted = np.empty((n, _LANES)), np.empty((n, _LANES)), np.empty((n, _LANES))
    squares = beside * beside
    residual = 0.0
    for start in range(0, count, _LANES):
        for i in range(n):
            for lane in range(_LANES):
                shifted[i, lane] = diagonal[i] - values[min(start + lane, count - 1)]
        for lane in range(_LANES):
            above[0, lane], below[n - 1, lane] = shifted[0, lane], shifted[n - 1, lane]
        for i in range(1, n):
            for lane in range(_LANES):
                pivot = above[i - 1, lane]
                above[i, lane] = shifted[i, lane] - squares[i - 1] / (pivot if abs(pivot) > _TINY else _TINY)
        for i in range(n - 2, -1, -1):
            for lane in range(_LANES):
                pivot = below[i + 1, lane]
                below[i, lane] = shifted[i, lane] - squares[i] / (pivot if abs(pivot) > _TINY else _TINY)
        for lane in range(min(_LANES, count - start)):
            least, twist = np.inf, 0
            for i in range(n):
                meeting = abs(above[i, lane] + below[i, lane] - shifted[i, lane])
                if meeting < least:
                    least, twist = meeting, i
            vector = out[start + lane]
            vector[twist] = norm = 1.0
            for i in range(twist - 1, -1, -1):
                pivot = above[i, lane]
                vector[i] = -beside[i] / (pivot if abs(pivot) > _TINY else _TINY) * vector[i + 1]
                norm += vector[i] * vector[i]
            for i in range(twist + 1, n):
                pivot = below[i, lane]
                vector[i] = -beside[i - 1] / (pivot if abs(pivot) > _TINY else _TINY) * vector[i - 1]
                norm += vector[i] * vector[i]
            norm = np.sqrt(norm)
            residual = max(residual, least / norm)
            for i in range(n):
                vector[i] /= norm
    return residual


def _skew(vectors: Any, weights: Any) -> float:
    worst = 0.0
    for one in range(len(vectors)):
        for other in range(max(0, one - _BEFORE), one):
            product = 0.0
            for i in range(vectors.shape[1]):
                product += vectors[one, i] * vectors[other, i]
            if not abs(product) * weights[other] <= worst:  # NaN too
                worst = abs(product) * weights[other]
    return worst


_compiled_solve, _compiled_skew = compiled(_solve), compiled(_skew)
