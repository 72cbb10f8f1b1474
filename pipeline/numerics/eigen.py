"""The leading eigenvectors of large Gram matrices: what ``numpy.linalg.eigh`` does, without the vectors nobody wants.

In the steps of LAPACK's ``dsyevd``: tridiagonal form (dsytrd), the eigenpairs of that, and the way back (dormqr). The pairs
come from dsterf and ``tridiagonal``, in less than half the time of LAPACK's divide and conquer (dstevd), which steps in
where eigenvalues are too close.
"""

import numpy as np
from scipy.linalg import lapack

from pipeline.numerics import tridiagonal

# Columns that are transformed together. A column's bits depend on its block, and so not on how many are wanted.
BLOCK = 64
# Elements of LAPACK's workspace for its triangular factors (dormqr's TSIZE); with less it falls back to slow code.
_FACTORS = 64 * 65
# What is asked of a tridiagonal matrix's vectors: residuals within this many roundings of the largest eigenvalue, and so
# orthogonal that of the planes' cuts, which are made of them, no subpixel moves by more than so many grey levels.
_RESIDUAL, _SKEW = 16 * np.finfo(np.float64).eps, 1e-8


def leading(matrices: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues of every matrix, and the eigenvectors of its largest ones.

    Args:
        matrices: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: how many vectors are wanted, at most n.

    Returns:
        Values (p, n), descending, and vectors (p, n, m) as columns in their order: ``count`` and those that fill the block.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues did not converge.
    """
    planes, n, _ = matrices.shape
    wanted = min(n, -(-count // BLOCK) * BLOCK)
    values, vectors = np.empty((planes, n)), np.empty((planes, n, wanted))
    work, _ = lapack.dsytrd_lwork(n, lower=1)
    for matrix, value, vector in zip(matrices, values, vectors, strict=True):
        reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.T, lower=1, lwork=int(work))
        value[:], turned = _tridiagonal(diagonal, beside, wanted)
        lower = np.asfortranarray(reflectors[1:, :-1])  # the first row and column stay as they are
        vector[0] = turned[0]
        for start in range(0, wanted, BLOCK):
            block = np.asfortranarray(turned[1:, start : start + BLOCK])
            size = BLOCK * block.shape[1] + _FACTORS
            vector[1:, start : start + BLOCK], _, _ = lapack.dormqr("L", "N", lower, scales, block, size, overwrite_c=1)
    return values, vectors


def _tridiagonal(diagonal: np.ndarray, beside: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n,), descending, and the vectors (n, wanted) of the largest."""
    ascending, failed = lapack.dsterf(diagonal, beside)
    values = ascending[::-1]
    if not failed:
        rows, residual, skew = tridiagonal.vectors(diagonal, beside, np.ascontiguousarray(values[:wanted]))
        if residual <= _RESIDUAL * abs(values[0]) and skew <= _SKEW:
            return values, rows.T
    ascending, columns, failed = lapack.dstevd(diagonal, beside)
    if failed:
        raise np.linalg.LinAlgError("eigenvalues did not converge")
    return values, columns[:, ::-1][:, :wanted]
