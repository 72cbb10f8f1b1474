"""The leading eigenvectors of large symmetric matrices: what ``numpy.linalg.eigh`` does, without the vectors nobody wants.

LAPACK's three steps, as in its ``dsyevd``: tridiagonal form (dsytrd), all eigenpairs of that (dstevd, divide and
conquer), and the way back (dormqr), which is the only one that can be had for some vectors alone.
"""

import numpy as np
from scipy.linalg import lapack

# Columns that are transformed together. A column's bits depend on its block, and so not on how many are wanted.
BLOCK = 64
# Elements of LAPACK's workspace for its triangular factors (dormqr's TSIZE); with less it falls back to slow code.
_FACTORS = 64 * 65


def leading(matrices: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues of every matrix, and the eigenvectors of its largest ones.

    Args:
        matrices: float64 (p, n, n), symmetric.
        count: how many vectors are wanted, at most n.

    Returns:
        Values (p, n), descending, and vectors (p, n, m) as columns in their order: ``count`` and those that fill the block.

    Raises:
        numpy.linalg.LinAlgError: divide and conquer did not converge.
    """
    planes, n, _ = matrices.shape
    wanted = min(n, -(-count // BLOCK) * BLOCK)
    values, vectors = np.empty((planes, n)), np.empty((planes, n, wanted))
    work, _ = lapack.dsytrd_lwork(n, lower=1)
    for matrix, value, vector in zip(matrices, values, vectors, strict=True):
        reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.T, lower=1, lwork=int(work))
        ascending, tridiagonal, failed = lapack.dstevd(diagonal, beside, overwrite_d=1, overwrite_e=1)
        if failed:
            raise np.linalg.LinAlgError("eigenvalues did not converge")
        value[:] = ascending[::-1]
        lower = np.asfortranarray(reflectors[1:, :-1])  # the first row and column stay as they are
        for start in range(0, wanted, BLOCK):
            stop = min(start + BLOCK, wanted)
            columns = tridiagonal[:, n - stop : n - start]
            rest = np.asfortranarray(columns[1:])
            size = BLOCK * (stop - start) + _FACTORS
            back, _, _ = lapack.dormqr("L", "N", lower, scales, rest, lwork=size, overwrite_c=1)
            vector[0, start:stop] = columns[0, ::-1]
            vector[1:, start:stop] = back[:, ::-1]
    return values, vectors
