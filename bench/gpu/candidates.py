"""All eigensolvers that the benchmark compares: the two of the package, and two sets of kernels of this project."""

from types import ModuleType
from typing import Any

from bench.gpu import jacobi as jacobi_kernel
from bench.gpu import tridiagonal as tridiagonal_kernels
from pipeline.numerics.cuda.eigh import Solver, syevj, xsyev
from pipeline.numerics.eigen import values_and_columns

Array = Any  # numpy.ndarray or cupy.ndarray


def jacobi(gram: Array, count: int, xp: ModuleType) -> tuple[Array, Array]:
    """Solves matrices of up to 32 rows by Jacobi's method (``jacobi.cu``)."""
    return values_and_columns(*jacobi_kernel.solve(gram, xp), count)


def tridiagonal(gram: Array, count: int, xp: ModuleType) -> tuple[Array, Array]:
    """Solves matrices of up to 224 rows, and computes only the requested vectors (``tridiagonal.cu``)."""
    return tridiagonal_kernels.solve(gram, count, xp)


SOLVERS: dict[str, Solver] = {"syevj": syevj, "xsyev": xsyev, "jacobi": jacobi, "tridiagonal": tridiagonal}


def able(n: int, xp: ModuleType) -> dict[str, Solver]:
    """Returns the solvers that can solve matrices of n rows on this GPU."""
    limited = {"jacobi": n <= jacobi_kernel.MOST, "tridiagonal": tridiagonal_kernels.able(n, xp)}
    return {name: solver for name, solver in SOLVERS.items() if limited.get(name, True)}
