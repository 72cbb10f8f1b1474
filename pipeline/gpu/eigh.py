"""The leading eigenvectors of batches of Gram matrices on a card, proved there, and LAPACK's where the proof fails."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.eigen import BLOCK
from pipeline.gpu import guards

Array = Any  # numpy.ndarray or cupy.ndarray
Solver = Callable[[Array, ModuleType], tuple[Array, Array]]

# Matrices/s that ``python -m bench.gpu`` measured, one entry for a card, a size and a solver.
_MEASURED = Path(__file__).with_name("measured.json")
_SMALL = 32  # sides up to which syevj is taken where nothing has been measured, and that jacobi is made for
_MOST_BYTES = 2**31 - 1  # of one call's matrices, and with _MOST the cap that JAX puts on it
_MOST = 32_768


def syevj(gram: Array, xp: ModuleType) -> tuple[Array, Array]:
    """Jacobi's method, as CuPy (NumPy: LAPACK) binds it: values (p, n) ascending, and vectors as columns."""
    values, vectors = xp.linalg.eigh(gram)
    return values, vectors


def xsyev(gram: Array, xp: ModuleType) -> tuple[Array, Array]:
    """cuSOLVER's batched eigensolver, which CuPy does not bind: values (p, n) ascending, and vectors as columns."""
    from pipeline.gpu.xsyev import solver

    return solver(xp)(gram)


def jacobi(gram: Array, xp: ModuleType) -> tuple[Array, Array]:
    """This project's kernel, for up to 32 rows: values (p, n) ascending, and vectors as columns."""
    from pipeline.gpu.jacobi import solve

    return solve(gram, xp)


SOLVERS: dict[str, Solver] = {"syevj": syevj, "xsyev": xsyev, "jacobi": jacobi}


def able(n: int) -> dict[str, Solver]:
    """Those that take matrices of n rows."""
    return {name: solver for name, solver in SOLVERS.items() if n <= _SMALL or solver is not jacobi}


def leading(gram: Array, count: int, xp: ModuleType, solver: Solver | None = None) -> tuple[Array, Array, int]:
    """All eigenvalues of every matrix, and the eigenvectors of its largest ones.

    Args:
        gram: float64 (p, n, n), Gram matrices of planes in grey levels.
        count: vectors that are wanted, at most n.
        solver: None for the one that was fastest at this size.

    Returns:
        Values (p, n), descending; vectors (p, n, m) as columns in their order: ``count`` and those that fill the block;
        and how many matrices were left to LAPACK on the host, because the card failed at them (``guards``).
    """
    planes, n, _ = gram.shape
    wanted = min(n, -(-count // BLOCK) * BLOCK)
    values, vectors = xp.empty((planes, n)), xp.empty((planes, n, wanted))
    step = max(1, min(_MOST, _MOST_BYTES // (8 * n * n)))
    for start in range(0, planes, step):
        part = slice(start, start + step)
        try:
            ascending, columns = (solver or choose(n))(gram[part], xp)
        except np.linalg.LinAlgError:  # did not converge, it does not say where: the guards find out
            ascending, columns = xp.full((len(gram[part]), n), xp.nan), xp.full((len(gram[part]), n, n), xp.nan)
        values[part], vectors[part] = ascending[:, ::-1], columns[:, :, ::-1][:, :, :wanted]
    failed = np.flatnonzero((~guards.sound(gram, values, vectors, xp)).get())
    if len(failed):
        on_card = xp.asarray(failed)
        ascending, columns = np.linalg.eigh(gram[on_card].get())
        values[on_card] = xp.asarray(ascending[:, ::-1].copy())
        vectors[on_card] = xp.asarray(columns[:, :, ::-1][:, :, :wanted].copy())
    return values, vectors, len(failed)


@functools.cache
def choose(n: int) -> Solver:
    """The solver that was fastest at the measured size nearest to n; without measurements, what is thought best."""
    measured = [one for one in json.loads(_MEASURED.read_text()) if one["solver"] in able(n)]
    if not measured:
        return syevj if n <= _SMALL else xsyev
    nearest = min((one["n"] for one in measured), key=lambda size: abs(size - n))
    best = max((one for one in measured if one["n"] == nearest), key=lambda one: float(one["matrices_per_s"]))
    return SOLVERS[best["solver"]]
