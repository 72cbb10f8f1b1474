"""Leading eigenpairs of Gram matrices by ``numpy.linalg.eigh``, and the interface of the solvers on GPUs (``cuda.eigh``).

On a CPU core this is the fallback of the compiled kernels (``cpu``).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray

# Columns that are multiplied together. The bits of a column depend on its block, but not on the number of columns.
BLOCK = 64


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
    """Returns all eigenvalues and eigenvectors of every matrix.

    Args:
        matrices: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: number of eigenvectors that are needed, at most n. The result has all n.
        xp: NumPy.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues of a matrix did not converge.
    """
    values, vectors = np.linalg.eigh(matrices)
    return Eigenpairs(values[:, ::-1], np.ascontiguousarray(vectors[:, :, ::-1]))


def values_and_columns(ascending: Array, columns: Array, count: int) -> tuple[Array, Array]:
    """Returns eigenvalues (..., n) in descending order, and the vectors (..., n, count) of the largest, as columns."""
    return ascending[..., ::-1], columns[..., ::-1][..., :count]
