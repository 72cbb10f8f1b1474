"""The leading eigenvectors of batches of Gram matrices on a card, proved there, and LAPACK's where the proof fails."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.numerics.cuda import guards
from pipeline.numerics.cuda import jacobi as jacobi_kernel
from pipeline.numerics.cuda import tridiagonal as tridiagonal_kernels
from pipeline.numerics.eigen import BLOCK

Array = Any  # numpy.ndarray or cupy.ndarray
# Of float64 (p, n, n): values (p, n), descending, and vectors (p, n, wanted) of the largest, as columns. NaN, or
# numpy.linalg.LinAlgError, where they did not converge.
Solver = Callable[[Array, int, ModuleType], tuple[Array, Array]]

# Matrices/s that ``python -m bench.gpu --keep`` measured, one entry for a size and a solver.
_MEASURED = Path(__file__).with_name("measured.json")
_SMALL = 32  # sides up to which syevj is taken where nothing has been measured, and that jacobi is made for
_MOST_BYTES = 2**31 - 1  # of one call's matrices, and with _MOST the cap that JAX puts on it
_MOST = 32_768


def syevj(gram: Array, wanted: int, xp: ModuleType) -> tuple[Array, Array]:
    """Jacobi's method, as CuPy (NumPy: LAPACK) binds it."""
    return _largest(xp.linalg.eigh(gram), wanted)


def xsyev(gram: Array, wanted: int, xp: ModuleType) -> tuple[Array, Array]:
    """cuSOLVER's batched eigensolver, which CuPy does not bind."""
    from pipeline.numerics.cuda.xsyev import solver

    return _largest(solver(xp)(gram), wanted)


def jacobi(gram: Array, wanted: int, xp: ModuleType) -> tuple[Array, Array]:
    """This project's kernel of Jacobi's method, for up to 32 rows."""
    return _largest(jacobi_kernel.solve(gram, xp), wanted)


def tridiagonal(gram: Array, wanted: int, xp: ModuleType) -> tuple[Array, Array]:
    """This project's kernels that find no more vectors than are wanted, for up to 224 rows."""
    return tridiagonal_kernels.solve(gram, wanted, xp)


def _largest(found: tuple[Array, Array], wanted: int) -> tuple[Array, Array]:
    ascending, columns = found
    return ascending[:, ::-1], columns[:, :, ::-1][:, :, :wanted]


SOLVERS: dict[str, Solver] = {"syevj": syevj, "xsyev": xsyev, "jacobi": jacobi, "tridiagonal": tridiagonal}


def able(n: int, xp: ModuleType) -> dict[str, Solver]:
    """Those that take matrices of n rows on this card."""
    limited = {"jacobi": n <= _SMALL, "tridiagonal": tridiagonal_kernels.able(n, xp)}
    return {name: solver for name, solver in SOLVERS.items() if limited.get(name, True)}


def leading(gram: Array, count: int, xp: ModuleType, solver: Solver | None = None) -> tuple[Array, Array, int]:
    """All eigenvalues of every matrix, and the eigenvectors of its largest ones.

    Args:
        gram: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: vectors that are wanted, at most n.
        solver: None for the one that was fastest at this size.

    Returns:
        Values (p, n), descending; vectors (p, n, m) as columns in their order: ``count`` and those that fill the block;
        and how many matrices were left to LAPACK on the host, because the card failed at them (``guards``): the solver,
        and ``syevj``, which no kind of matrix is difficult for.
    """
    n = gram.shape[1]
    wanted, solver = min(n, -(-count // BLOCK) * BLOCK), solver or choose(n, xp)
    values, vectors = _solved(gram, wanted, xp, solver)
    failed = _failed(gram, values, vectors, xp)
    if len(failed) and solver is not syevj:
        some = xp.asarray(failed)
        again = _solved(gram[some], wanted, xp, syevj)
        values[some], vectors[some] = again
        failed = failed[_failed(gram[some], *again, xp)]
    if len(failed):
        some = xp.asarray(failed)
        exact = _largest(np.linalg.eigh(gram[some].get()), wanted)
        values[some], vectors[some] = (xp.asarray(one.copy()) for one in exact)
    return values, vectors, len(failed)


def _solved(gram: Array, wanted: int, xp: ModuleType, solver: Solver) -> tuple[Array, Array]:
    """In calls that are no larger than a solver can take."""
    planes, n, _ = gram.shape
    values, vectors = xp.empty((planes, n)), xp.empty((planes, n, wanted))
    step = max(1, min(_MOST, _MOST_BYTES // (8 * n * n)))
    for start in range(0, planes, step):
        part = slice(start, start + step)
        try:
            values[part], vectors[part] = solver(gram[part], wanted, xp)
        except np.linalg.LinAlgError:  # it does not say which of them: the guards find out
            values[part], vectors[part] = xp.nan, xp.nan
    return values, vectors


def _failed(gram: Array, values: Array, vectors: Array, xp: ModuleType) -> np.ndarray:
    """The numbers of those that are no eigenpairs."""
    return np.flatnonzero((~guards.sound(gram, values, vectors, xp)).get())


@functools.cache
def choose(n: int, xp: ModuleType) -> Solver:
    """The solver that was fastest at the measured size nearest to n; without measurements, what is thought best."""
    usable = able(n, xp)
    measured = [one for one in json.loads(_MEASURED.read_text()) if one["solver"] in usable]
    if not measured:
        return syevj if n <= _SMALL else xsyev
    nearest = min((one["n"] for one in measured), key=lambda size: abs(size - n))
    best = max((one for one in measured if one["n"] == nearest), key=lambda one: float(one["matrices_per_s"]))
    return SOLVERS[best["solver"]]


def keep(measured: list[dict[str, Any]]) -> None:
    """Have solvers chosen by these rates from now on: entries of ``n``, ``solver`` and ``matrices_per_s``, in place of what
    was known of these sizes."""
    new = {one["n"] for one in measured}
    known = [one for one in json.loads(_MEASURED.read_text()) if one["n"] not in new]
    lines = ",\n ".join(
        json.dumps(one) for one in sorted([*known, *measured], key=lambda one: (one["n"], one["solver"]))
    )
    _MEASURED.write_text(f"[{lines}]\n")
    choose.cache_clear()
