"""Leading eigenpairs of Gram matrices on a CPU core.

Small matrices go to ``numpy.linalg.eigh``. For large ones this module takes the steps of LAPACK's ``dsyevd`` one by one, and
computes only the eigenvectors that are needed:

1. ``dsytrd`` reduces the matrix to tridiagonal form, G = Q T Q^T.
2. ``dsterf`` computes all eigenvalues of T.
3. Twisted factorisation computes the leading eigenvectors of T. This takes less than half the time of LAPACK's divide and
   conquer (``dstevd``), which replaces it where eigenvalues are too close.
4. ``dormqr`` multiplies the vectors by Q.

Twisted factorisation: Dhillon, "A new O(n^2) algorithm for the symmetric tridiagonal eigenvalue/eigenvector problem", 1997,
section 3.1. T - lambda I is factorised from the top and from the bottom. The two factorisations are joined at the row where
their pivots nearly cancel. The vector is 1 at that row, and the other entries follow from it, upwards and downwards. Each
vector is computed independently of the others, so vectors of close eigenvalues may not be orthogonal; ``_skew`` measures
that.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from pipeline.numerics.jit import compiled

Array = Any  # numpy.ndarray or cupy.ndarray

# The side from which it is faster to compute only the leading eigenvectors.
LARGE = 96
# Columns that are transformed together. The bits of a column depend on its block, but not on the number of columns.
BLOCK = 64
# Size of LAPACK's workspace for the triangular factors of block reflectors (TSIZE in dormqr.f: LDT * NBMAX = 65 * 64). With
# less workspace dormqr falls back to unblocked code.
_DORMQR_FACTORS = 65 * 64
# Bounds on the vectors of a tridiagonal matrix: the residual, relative to the largest eigenvalue, and the skew in grey
# levels (by how much vectors that are not orthogonal may move a pixel of a cut).
_RESIDUAL, _SKEW = 16 * np.finfo(np.float64).eps, 1e-8

_LANES = 8  # eigenvalues that are processed side by side, in the processor's vector registers
_TINY = 1e-300  # replaces a pivot that is zero
_NEIGHBOURS = 4  # vectors against which each vector is tested: those of the next larger eigenvalues


class Eigenpairs(NamedTuple):
    """Eigenpairs of a batch of symmetric matrices.

    Attributes:
        values: float64 (p, n), all eigenvalues, descending.
        vectors: float64 (p, n, m), eigenvectors of the m largest, as columns.
        repaired: matrices that a GPU solved wrongly and LAPACK solved again.
    """

    values: Array
    vectors: Array
    repaired: int = 0


# Computes at least ``count`` leading eigenpairs of float64 (p, n, n) Gram matrices of an array namespace. Raises
# numpy.linalg.LinAlgError where the iteration did not converge.
Eigensolver = Callable[[Array, int, ModuleType], Eigenpairs]


def block_multiple(count: int, n: int) -> int:
    """Returns ``count`` rounded up to whole blocks of vectors, at most n."""
    return min(n, -(-count // BLOCK) * BLOCK)


def leading(matrices: np.ndarray, count: int, xp: ModuleType = np) -> Eigenpairs:
    """Returns all eigenvalues of every matrix, and at least its ``count`` leading eigenvectors.

    Args:
        matrices: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: number of eigenvectors that are needed, at most n.
        xp: NumPy.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues of a matrix did not converge.
    """
    if matrices.shape[-1] >= LARGE:
        return leading_of_large(matrices, count)
    values, vectors = np.linalg.eigh(matrices)
    return Eigenpairs(values[:, ::-1], np.ascontiguousarray(vectors[:, :, ::-1]))


def leading_of_large(matrices: np.ndarray, count: int) -> Eigenpairs:
    """Returns the same as ``leading``, by the steps that the module describes; the vectors fill whole blocks."""
    planes, n, _ = matrices.shape
    columns = block_multiple(count, n)
    values, vectors = np.empty((planes, n)), np.empty((planes, n, columns))
    work, _ = lapack.dsytrd_lwork(n, lower=1)
    for matrix, value, vector in zip(matrices, values, vectors, strict=True):
        reflectors, diagonal, off_diagonal, scales, _ = lapack.dsytrd(matrix.T, lower=1, lwork=int(work))
        value[:], tridiagonal_vectors = _tridiagonal(diagonal, off_diagonal, columns)
        _multiply_by_q(reflectors, scales, tridiagonal_vectors, vector)
    return Eigenpairs(values, vectors)


def _multiply_by_q(reflectors: np.ndarray, scales: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
    """Writes Q times the vectors (n, m) to ``out``, block by block (LAPACK's dormtr for a lower triangle)."""
    lower = np.asfortranarray(reflectors[1:, :-1])  # Q leaves the first row as it is
    out[0] = vectors[0]
    for start in range(0, vectors.shape[1], BLOCK):
        block = np.asfortranarray(vectors[1:, start : start + BLOCK])
        size = BLOCK * block.shape[1] + _DORMQR_FACTORS
        out[1:, start : start + BLOCK], _, _ = lapack.dormqr("L", "N", lower, scales, block, size, overwrite_c=1)


def _tridiagonal(diagonal: np.ndarray, off_diagonal: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the eigenvalues (n,), descending, and the vectors (n, count) of the largest."""
    ascending, failed = lapack.dsterf(diagonal, off_diagonal)
    values = ascending[::-1]
    if not failed:
        rows, residual, skew = twisted_vectors(diagonal, off_diagonal, np.ascontiguousarray(values[:count]))
        if residual <= _RESIDUAL * abs(values[0]) and skew <= _SKEW:
            return values, rows.T
    ascending, columns, failed = lapack.dstevd(diagonal, off_diagonal)
    if failed:
        raise np.linalg.LinAlgError("eigenvalues did not converge")
    return values_and_columns(ascending, columns, count)


def values_and_columns(ascending: Array, columns: Array, count: int) -> tuple[Array, Array]:
    """Returns eigenvalues (..., n) in descending order, and the vectors (..., n, count) of the largest, as columns."""
    return ascending[..., ::-1], columns[..., ::-1][..., :count]


def twisted_vectors(
    diagonal: np.ndarray, off_diagonal: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Returns unit eigenvectors of one tridiagonal matrix T, and two measures of their error.

    The bits of a vector do not depend on which other vectors are computed.

    Args:
        diagonal: float64 (n,).
        off_diagonal: float64 (n - 1,).
        values: float64 (m,), leading eigenvalues, descending, from LAPACK's dsterf.

    Returns:
        The vectors (m, n) as rows; the largest |T z - lambda z|; and the largest |<z_i, z_j>| max(sqrt(lambda_i), 1) over
        close neighbours i < j. The last is NaN where a vector could not be computed.
    """
    vectors = np.empty((values.size, diagonal.size))
    residual = _solve(diagonal, off_diagonal, values, vectors)
    return vectors, residual, _skew(vectors, np.sqrt(np.maximum(values, 1.0)))


@compiled
def _divisor(pivot: float) -> float:
    """Returns the pivot, or a tiny number where it is zero."""
    return pivot if abs(pivot) > _TINY else _TINY


@compiled
def _factorise(shifted: Any, squares: Any, above: Any, below: Any) -> None:
    """Eliminates T - lambda I of each lane from the top and from the bottom (Dhillon: stationary and progressive forms).

    Args:
        shifted: (n, lanes), the diagonals of T - lambda I.
        squares: (n - 1,), the squares of T's off-diagonal.
        above, below: (n, lanes); receive the pivots of the two eliminations.
    """
    n = len(shifted)
    for lane in range(_LANES):
        above[0, lane], below[n - 1, lane] = shifted[0, lane], shifted[n - 1, lane]
    for i in range(1, n):
        for lane in range(_LANES):
            above[i, lane] = shifted[i, lane] - squares[i - 1] / _divisor(above[i - 1, lane])
    for i in range(n - 2, -1, -1):
        for lane in range(_LANES):
            below[i, lane] = shifted[i, lane] - squares[i] / _divisor(below[i + 1, lane])


@compiled
def _twist(shifted: Any, above: Any, below: Any, lane: int) -> tuple[float, int]:
    """Returns the smallest joint pivot, and its row. The pivot is |T z - lambda z| of the vector that is 1 in this row."""
    least, row = np.inf, 0
    for i in range(len(shifted)):
        joint = abs(above[i, lane] + below[i, lane] - shifted[i, lane])
        if joint < least:
            least, row = joint, i
    return least, row


@compiled
def _vector(off_diagonal: Any, above: Any, below: Any, lane: int, row: int, vector: Any) -> float:
    """Writes the vector that is 1 in a row to ``vector`` (n,). Returns its length."""
    vector[row] = square = 1.0
    for i in range(row - 1, -1, -1):
        vector[i] = -off_diagonal[i] / _divisor(above[i, lane]) * vector[i + 1]
        square += vector[i] * vector[i]
    for i in range(row + 1, len(vector)):
        vector[i] = -off_diagonal[i - 1] / _divisor(below[i, lane]) * vector[i - 1]
        square += vector[i] * vector[i]
    return float(np.sqrt(square))


@compiled
def _solve(diagonal: Any, off_diagonal: Any, values: Any, out: Any) -> float:
    """Writes a unit vector for each value to ``out`` (m, n). Returns the largest |T z - lambda z|."""
    n, count = diagonal.size, values.size
    shifted, above, below = np.empty((n, _LANES)), np.empty((n, _LANES)), np.empty((n, _LANES))
    squares = off_diagonal * off_diagonal
    residual = 0.0
    for start in range(0, count, _LANES):
        for i in range(n):
            for lane in range(_LANES):
                shifted[i, lane] = diagonal[i] - values[min(start + lane, count - 1)]
        _factorise(shifted, squares, above, below)
        for lane in range(min(_LANES, count - start)):
            least, row = _twist(shifted, above, below, lane)
            vector = out[start + lane]
            length = _vector(off_diagonal, above, below, lane, row, vector)
            residual = max(residual, least / length)
            for i in range(n):
                vector[i] /= length
    return residual


@compiled
def _skew(vectors: Any, weights: Any) -> float:
    """Returns the largest weighted |<z_i, z_j>| of neighbours; NaN where a product is NaN."""
    worst = 0.0
    for j in range(len(vectors)):
        for i in range(max(0, j - _NEIGHBOURS), j):
            product = 0.0
            for k in range(vectors.shape[1]):
                product += vectors[j, k] * vectors[i, k]
            if not abs(product) * weights[i] <= worst:  # also where the product is NaN
                worst = abs(product) * weights[i]
    return worst
