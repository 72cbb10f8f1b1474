"""Leading eigenvectors of many matrices by kernels of this project, ``tridiagonal.cu``."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray

MOST = 224  # rows; half a matrix has to fit into a multiprocessor's shared memory
_WARP = 32  # threads
_WARPS = {1: 1, 2: 2, 3: 4, 4: 4}  # that share a matrix in ``reduce``, by the rows per lane; 8 for more rows
_THREADS_OF_TWIST = 128
_WARPS_OF_BACK, _COLUMNS = 8, 4  # per block of ``back``, and columns per warp


def able(n: int, xp: ModuleType) -> bool:
    """Returns whether this GPU can solve matrices of n rows."""
    return n <= MOST and _shared(n) <= _available(xp)


def solve(matrices: Array, count: int, xp: ModuleType) -> tuple[Array, Array]:
    """Solves symmetric positive semidefinite matrices, on the current stream.

    Args:
        matrices: float64 (p, n, n), with ``able(n, xp)``.
        count: number of vectors, at most n. The bits of a vector do not depend on it.
        xp: CuPy.

    Returns:
        All values (p, n), descending, and vectors (p, n, count) of the largest, as columns. Vectors of values that are
        closer than rounding errors, such as several zeros, may not be orthogonal.
    """
    planes, n, _ = matrices.shape
    kernels = _kernels(_rows(n), xp)
    reflectors = matrices.copy()
    diagonal, off_diagonal, scales, values = (xp.empty((planes, n)) for _ in range(4))
    vectors, work = xp.empty((planes, n, count)), xp.empty((planes, n, count))
    side, columns = np.int32(n), np.int32(count)

    def run(name: str, grid: tuple[int, ...], threads: int, *arguments: Any, shared: int = 0) -> None:
        kernels[name](grid, (threads,), arguments, shared_mem=shared)

    block = _WARP * _warps(_rows(n))
    run("reduce", (planes,), block, reflectors, diagonal, off_diagonal, scales, side, shared=_shared(n))
    run("bisect", (planes,), _WARP * _rows(n), diagonal, off_diagonal, values, side)
    blocks = -(-planes * count // _THREADS_OF_TWIST)
    twist = (diagonal, off_diagonal, values, vectors, work, side, columns, np.int64(planes))
    run("twist", (blocks,), _THREADS_OF_TWIST, *twist)
    groups = -(-count // (_WARPS_OF_BACK * _COLUMNS))
    run("back", (planes, groups), _WARP * _WARPS_OF_BACK, reflectors, scales, vectors, side, columns)
    return values, vectors


@functools.cache
def _kernels(rows: int, xp: ModuleType) -> dict[str, Any]:
    code = Path(__file__).with_suffix(".cu").read_text()
    options = ("-std=c++17", f"-DROWS={rows}", f"-DWARPS={_warps(rows)}")
    module = xp.RawModule(code=code, options=options)
    kernels = {name: module.get_function(name) for name in ("reduce", "bisect", "twist", "back")}
    kernels["reduce"].max_dynamic_shared_size_bytes = _available(xp)  # the default is 48 KB
    return kernels


def _rows(n: int) -> int:
    """Returns the number of rows per lane of a warp."""
    return -(-n // _WARP)


def _warps(rows: int) -> int:
    return _WARPS.get(rows, 8)


def _shared(n: int) -> int:
    """Returns the bytes of shared memory that a block of ``reduce`` needs."""
    return 8 * (n * (n + 1) // 2 + (4 + _warps(_rows(n))) * n)


@functools.cache
def _available(xp: ModuleType) -> int:
    """Returns the bytes of shared memory that a block may use on this GPU."""
    cuda = xp.cuda.runtime
    return int(cuda.getDeviceProperties(cuda.getDevice())["sharedMemPerBlockOptin"])
