"""Leading eigenpairs of Gram matrices on a GPU, checked there; LAPACK on the host solves what the GPU gets wrong.

The solvers, all in float64:

- up to 32 rows ``syevj``: cuSOLVER's syevjBatched, a Jacobi method, which CuPy calls for batches;
- above, ``xsyev``: cuSOLVER's XsyevBatched, which CuPy does not bind (``xsyev.py``).

A GPU build does not use ``torch.linalg.eigh``: with CUDA 13 it is 30 to 130 times slower on batches than before (PyTorch
issue 183806).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.numerics.cuda import guards
from pipeline.numerics.cuda import xsyev as cusolver
from pipeline.numerics.eigen import Eigenpairs, block_multiple, values_and_columns

Array = Any  # numpy.ndarray or cupy.ndarray
# Solves float64 (p, n, n) for values (p, n), descending, and vectors (p, n, count) of the largest, as columns. Where the
# iteration did not converge the values are NaN, or it raises numpy.linalg.LinAlgError.
Solver = Callable[[Array, int, ModuleType], tuple[Array, Array]]

_SMALL = 32  # rows up to which syevj is used
# Limits of one solver call, as in JAX: bytes of its matrices, and number of matrices.
_MOST_BYTES = 2**31 - 1
_MOST = 32_768


def syevj(gram: Array, count: int, xp: ModuleType) -> tuple[Array, Array]:
    """Solves by Jacobi's method, through CuPy's ``linalg.eigh``."""
    ascending, columns = xp.linalg.eigh(gram)
    return values_and_columns(ascending, columns, count)


def xsyev(gram: Array, count: int, xp: ModuleType) -> tuple[Array, Array]:
    """Solves by cuSOLVER's XsyevBatched."""
    ascending, columns = cusolver.solver_of_thread(xp)(gram)
    return values_and_columns(ascending, columns, count)


def solver_for(n: int) -> Solver:
    """Returns the solver for matrices of n rows."""
    return syevj if n <= _SMALL else xsyev


def leading(gram: Array, count: int, xp: ModuleType, solver: Solver | None = None) -> Eigenpairs:
    """Returns all eigenvalues of every matrix, and at least its ``count`` leading eigenvectors.

    Every result is checked on the GPU (``guards``). Matrices that fail are solved again by ``syevj``, which needs no
    assumption about the matrix. Matrices that fail again are solved by LAPACK on the host, and counted as repaired.

    Args:
        gram: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: number of eigenvectors that are needed, at most n.
        xp: CuPy.
        solver: None for the default at this size.
    """
    n = gram.shape[1]
    columns, solver = block_multiple(max(count, 1), n), solver or solver_for(n)  # the guards need at least one vector
    values, vectors = _solve(gram, columns, xp, solver)
    failed = _failed(gram, values, vectors, xp)
    if len(failed) and solver is not syevj:
        index = xp.asarray(failed)
        again = _solve(gram[index], columns, xp, syevj)
        values[index], vectors[index] = again
        failed = failed[_failed(gram[index], *again, xp)]
    if len(failed):
        index = xp.asarray(failed)
        ascending, vectors_of_all = np.linalg.eigh(gram[index].get())
        exact = values_and_columns(ascending, vectors_of_all, columns)
        values[index], vectors[index] = (xp.asarray(array.copy()) for array in exact)
    return Eigenpairs(values, vectors, len(failed))


def _solve(gram: Array, columns: int, xp: ModuleType, solver: Solver) -> tuple[Array, Array]:
    """Solves in calls within the solver's limits. Values and vectors are NaN in a call that raises."""
    planes, n, _ = gram.shape
    values, vectors = xp.empty((planes, n)), xp.empty((planes, n, columns))
    step = max(1, min(_MOST, _MOST_BYTES // (8 * n * n)))
    for start in range(0, planes, step):
        part = slice(start, start + step)
        try:
            values[part], vectors[part] = solver(gram[part], columns, xp)
        except np.linalg.LinAlgError:  # it does not say which matrix failed: the guards refuse them all
            values[part], vectors[part] = xp.nan, xp.nan
    return values, vectors


def _failed(gram: Array, values: Array, vectors: Array, xp: ModuleType) -> np.ndarray:
    """Returns the indices of matrices whose eigenpairs do not pass the guards."""
    return np.flatnonzero((~guards.sound(gram, values, vectors, xp)).get())
