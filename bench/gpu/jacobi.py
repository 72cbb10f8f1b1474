"""Eigenvectors of many small matrices by a kernel of this project, ``jacobi.cu``."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray

MOST = 32  # rows; each lane of a warp has one
_THREADS = 64  # per block; a block solves two matrices


@functools.cache
def _kernel(xp: ModuleType) -> Any:
    module = xp.RawModule(code=Path(__file__).with_suffix(".cu").read_text(), options=("-std=c++17",))
    return module.get_function("jacobi")


def solve(matrices: Array, xp: ModuleType) -> tuple[Array, Array]:
    """Solves symmetric positive semidefinite matrices, on the current stream.

    Args:
        matrices: float64 (p, n, n), n at most ``MOST``.
        xp: CuPy.

    Returns:
        Values (p, n), ascending, and vectors (p, n, n) as columns.
    """
    planes, n, _ = matrices.shape
    assert n <= MOST
    values, vectors = xp.empty((planes, n)), xp.empty((planes, n, n))
    arguments = (xp.ascontiguousarray(matrices), values, vectors, np.int32(n), np.int64(planes))
    _kernel(xp)((-(-planes * 32 // _THREADS),), (_THREADS,), arguments)
    return values, vectors
