"""Leading eigenvectors of many matrices by kernels of this project, ``tridiagonal.cu``: none but the wanted ones."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray

MOST = 224  # rows; half a matrix has to fit into a multiprocessor's shared memory
_WARP = 32  # threads
_WARPS = {1: 1, 2: 2, 3: 4, 4: 4}  # that share a matrix in ``reduce``, by the rows that a lane has; 8 above
_THREADS_OF_TWIST = 128
_WARPS_OF_BACK, _COLUMNS = 8, 4  # each has so many columns


def able(n: int, xp: ModuleType) -> bool:
    """Whether this card can take matrices of n rows."""
    return n <= MOST and _shared(n) <= _room(xp)


def solve(matrices: Array, wanted: int, xp: ModuleType) -> tuple[Array, Array]:
    """Eigenpairs of symmetric positive semidefinite matrices, on the current stream.

    Args:
        matrices: float64 (p, n, n), of which the card is ``able``.
        wanted: vectors, at most n. The bits of one do not depend on it.

    Returns:
        All values (p, n), descending, and vectors (p, n, wanted) as columns, of the largest. The vectors of values that
        are closer than rounding errors, such as several zeros, need not be orthogonal.
    """
    planes, n, _ = matrices.shape
    kernels = _kernels(_rows(n), xp)
    reflectors = matrices.copy()
    diagonal, beside, scales, values = (xp.empty((planes, n)) for _ in range(4))
    vectors, room = xp.empty((planes, n, wanted)), xp.empty((planes, n, wanted))
    side, many = np.int32(n), np.int32(wanted)

    def run(name: str, grid: tuple[int, ...], threads: int, *given: Any, shared: int = 0) -> None:
        kernels[name](grid, (threads,), given, shared_mem=shared)

    block = _WARP * _warps(_rows(n))
    run("reduce", (planes,), block, reflectors, diagonal, beside, scales, side, shared=_shared(n))
    run("bisect", (planes,), _WARP * _rows(n), diagonal, beside, values, side)
    blocks = -(-planes * wanted // _THREADS_OF_TWIST)
    run("twist", (blocks,), _THREADS_OF_TWIST, diagonal, beside, values, vectors, room, side, many, np.int64(planes))
    groups = -(-wanted // (_WARPS_OF_BACK * _COLUMNS))
    run("back", (planes, groups), _WARP * _WARPS_OF_BACK, reflectors, scales, vectors, side, many)
    return values, vectors


@functools.cache
def _kernels(rows: int, xp: ModuleType) -> dict[str, Any]:
    code = Path(__file__).with_suffix(".cu").read_text()
    options = ("-std=c++17", f"-DROWS={rows}", f"-DWARPS={_warps(rows)}")
    module = xp.RawModule(code=code, options=options)
    kernels = {name: module.get_function(name) for name in ("reduce", "bisect", "twist", "back")}
    kernels["reduce"].max_dynamic_shared_size_bytes = _room(xp)  # by default 48 KB
    return kernels


def _rows(n: int) -> int:
    """That a lane of a warp has."""
    return -(-n // _WARP)


def _warps(rows: int) -> int:
    return _WARPS.get(rows, 8)


def _shared(n: int) -> int:
    """Bytes of shared memory that a block of ``reduce`` takes."""
    return 8 * (n * (n + 1) // 2 + (4 + _warps(_rows(n))) * n)


@functools.cache
def _room(xp: ModuleType) -> int:
    """Bytes of shared memory that a block can have."""
    cuda = xp.cuda.runtime
    return int(cuda.getDeviceProperties(cuda.getDevice())["sharedMemPerBlockOptin"])
