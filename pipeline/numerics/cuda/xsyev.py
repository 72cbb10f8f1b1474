"""``cusolverDnXsyevBatched`` by ctypes: CuPy ships no binding of it, libcusolver exports it (cuSOLVER 11.7.1 and later)."""

import ctypes
import itertools
import os
import threading
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import PipelineError

Array = Any  # cupy.ndarray

# Earlier ones can return wrong vectors and say nothing.
_LEAST = (11, 7, 3)  # as the package nvidia-cusolver 11.7.3.90, of CUDA 12.8.1
_VECTORS, _LOWER, _R_64F = 1, 0, 1  # cusolverEigMode_t, cublasFillMode_t, cudaDataType
_ALLOC_FAILED = 2
_LIBRARIES = ("libcusolver.so.12", "libcusolver.so.11")
_pointer, _int, _long, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
_MATRICES = [_pointer, _pointer, _int, _int, _long, _int, _pointer, _long, _int, _pointer, _int]
_SIGNATURES = {
    "cusolverDnCreate": [ctypes.POINTER(_pointer)],
    "cusolverDnCreateParams": [ctypes.POINTER(_pointer)],
    "cusolverDnSetStream": [_pointer, _pointer],
    "cusolverGetProperty": [_int, ctypes.POINTER(_int)],
    "cusolverDnXsyevBatched_bufferSize": [*_MATRICES, ctypes.POINTER(_size), ctypes.POINTER(_size), _long],
    "cusolverDnXsyevBatched": [*_MATRICES, _pointer, _size, _pointer, _size, _pointer, _long],
}


def load() -> ctypes.CDLL:
    """libcusolver with its signatures. Raises PipelineError where it is missing or too old."""
    # Rather the one that CuPy has loaded than another version beside it.
    for mode, name in itertools.product((os.RTLD_NOLOAD, 0), _LIBRARIES):
        try:
            library = ctypes.CDLL(name, ctypes.DEFAULT_MODE | mode)
            break
        except OSError:
            continue
    else:
        raise PipelineError(
            f"cuSOLVER is not here ({_LIBRARIES[0]}); install CuPy with its libraries, as docs/gpus.md says"
        )
    try:
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments
    except AttributeError:
        raise PipelineError(f"this cuSOLVER has no {name}; it takes one of CUDA 12.8.1 or later") from None
    found = version(library)
    if found < _LEAST:
        raise PipelineError(
            f"cuSOLVER {_dotted(found)} can give wrong eigenvectors; it takes {_dotted(_LEAST)} or later"
        )
    return library


def version(library: ctypes.CDLL) -> tuple[int, ...]:
    """Major, minor and patch."""
    parts = []
    for which in range(3):
        value = _int()
        _check(library.cusolverGetProperty(which, ctypes.byref(value)))
        parts.append(value.value)
    return tuple(parts)


def solver(xp: ModuleType) -> "XsyevBatched":
    """This thread's, as a handle belongs to one stream at a time."""
    found = getattr(_of_thread, "solver", None)
    if found is None:
        found = _of_thread.solver = XsyevBatched(xp)
    return found


_of_thread = threading.local()


class XsyevBatched:
    """Eigenvalues, ascending, and eigenvectors of a batch of symmetric matrices on the current stream.

    Raises:
        MemoryError: the card has no room for its workspace.
        RuntimeError: cuSOLVER failed.
    """

    def __init__(self, xp: ModuleType) -> None:
        # CuPy finds and loads libcusolver wherever pip or conda have put it; by its name it is then had from memory
        from cupyx import cusolver as _  # noqa: F401

        self._xp, self.library = xp, load()
        self._handle, self._params = _pointer(), _pointer()
        _check(self.library.cusolverDnCreate(ctypes.byref(self._handle)))
        _check(self.library.cusolverDnCreateParams(ctypes.byref(self._params)))

    def __call__(self, matrices: Array) -> tuple[Array, Array]:
        """float64 (p, n, n) to values (p, n) and vectors (p, n, n) as columns; NaN for those that did not converge."""
        xp, library = self._xp, self.library
        planes, n, _ = matrices.shape
        rows = matrices.copy()  # comes to hold the vectors; cuSOLVER's columns are rows to us
        values, info = xp.empty((planes, n)), xp.empty(planes, xp.int32)
        stream = xp.cuda.get_current_stream()
        _check(library.cusolverDnSetStream(self._handle, stream.ptr))
        given = (
            self._handle,
            self._params,
            _VECTORS,
            _LOWER,
            n,
            _R_64F,
            rows.data.ptr,
            n,
            _R_64F,
            values.data.ptr,
            _R_64F,
        )
        on_card, on_host = _size(), _size()
        sizes = (ctypes.byref(on_card), ctypes.byref(on_host))
        _check(library.cusolverDnXsyevBatched_bufferSize(*given, *sizes, planes))
        work = xp.zeros(
            max(on_card.value, 1), xp.uint8
        )  # what an earlier call left there has been seen to spoil results
        host = np.zeros(max(on_host.value, 1), np.uint8)
        room = (work.data.ptr, on_card.value, host.ctypes.data, on_host.value)
        _check(library.cusolverDnXsyevBatched(*given, *room, info.data.ptr, planes))
        if on_host.value:
            stream.synchronize()  # ``host`` goes with this call
        return xp.where(info[:, None] != 0, xp.nan, values), rows.swapaxes(1, 2)


def _check(status: int) -> None:
    if status == _ALLOC_FAILED:
        raise MemoryError("cuSOLVER could not allocate memory on the card")
    if status:
        raise RuntimeError(f"cuSOLVER failed with status {status}")


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
