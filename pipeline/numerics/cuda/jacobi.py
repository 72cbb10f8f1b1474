"""Eigenvectors of many small matrices by a kernel of this project, ``jacobi.cu``."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray

_THREADS = 64  # two matrices to a block


@functools.cache
def _kernel(xp: ModuleType) -> Any:
    module = xp.RawModule(code=Path(__file__).with_suffix(".cu").read_text(), options=("-std=c++17",))
    return module.get_function("jacobi")


def solve(matrices: Array, xp: ModuleType) -> tuple[Array, Array]:
    """Symmetric positive semidefinite float64 (p, n, n), n at most 32, to values (p, n), ascending, and vectors (p, n, n) as
    columns, on the current stream."""
    planes, n, _ = matrices.shape
    assert n <= 32  # a lane of a warp for each row
    values, vectors = xp.empty((planes, n)), xp.empty((planes, n, n))
    given = (xp.ascontiguousarray(matrices), values, vectors, np.int32(n), np.int64(planes))
    _kernel(xp)((-(-planes * 32 // _THREADS),), (_THREADS,), given)
    return values, vectors
