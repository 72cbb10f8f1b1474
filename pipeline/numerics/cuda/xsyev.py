"""Calls cuSOLVER's ``cusolverDnXsyevBatched`` through ctypes. CuPy has no binding; cuSOLVER 11.7.1 and later export it.

Why ctypes and not nvmath-python: version 1.0 binds the same functions, but declares its bindings experimental, adds
cuda-bindings, cuda-core and cuda-pathfinder to the installation, and loads libcusolver by rules of its own. Seven functions
do not need that, and here the library is always the one that CuPy has loaded.
"""

import ctypes
import itertools
import os
import threading
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import PipelineError

Array = Any  # cupy.ndarray

# Earlier versions can return wrong vectors without an error.
_LEAST = (11, 7, 3)  # the package nvidia-cusolver-cu12 11.7.3.90, of CUDA 12.8.1
# The first version whose cusolverDnFunction_t has CUSOLVERDN_SYEVBATCHED (CUDA 13.0; CUDA 12.9's header does not).
_SELECTABLE = (12, 0, 0)
_VECTORS, _LOWER, _R_64F = 1, 0, 1  # cusolverEigMode_t, cublasFillMode_t, cudaDataType
_SYEVBATCHED, _ALG_1 = 2, 1  # cusolverDnFunction_t, cusolverAlgMode_t
_ALLOC_FAILED = 2  # cusolverStatus_t
_LIBRARIES = ("libcusolver.so.12", "libcusolver.so.11")
_pointer, _int, _long, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
_MATRICES = [_pointer, _pointer, _int, _int, _long, _int, _pointer, _long, _int, _pointer, _int]
_SIGNATURES = {
    "cusolverDnCreate": [ctypes.POINTER(_pointer)],
    "cusolverDnCreateParams": [ctypes.POINTER(_pointer)],
    "cusolverDnSetAdvOptions": [_pointer, _int, _int],
    "cusolverDnSetStream": [_pointer, _pointer],
    "cusolverGetProperty": [_int, ctypes.POINTER(_int)],
    "cusolverDnXsyevBatched_bufferSize": [*_MATRICES, ctypes.POINTER(_size), ctypes.POINTER(_size), _long],
    "cusolverDnXsyevBatched": [*_MATRICES, _pointer, _size, _pointer, _size, _pointer, _long],
}


def load() -> ctypes.CDLL:
    """Returns libcusolver with its signatures. Raises PipelineError where it is missing or too old."""
    # First look for a library that is already loaded, so that CuPy and this module use the same version.
    for mode, name in itertools.product((os.RTLD_NOLOAD, 0), _LIBRARIES):
        try:
            library = ctypes.CDLL(name, ctypes.DEFAULT_MODE | mode)
            break
        except OSError:
            continue
    else:
        raise PipelineError(f"cuSOLVER ({_LIBRARIES[0]}) is missing; install CuPy with its libraries (docs/gpus.md)")
    try:
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments
    except AttributeError:
        raise PipelineError(f"this cuSOLVER has no {name}; install one of CUDA 12.8.1 or later") from None
    if version(library) < _LEAST:
        raise PipelineError(
            f"cuSOLVER {_dotted(version(library))} can return wrong eigenvectors; install {_dotted(_LEAST)} or later"
        )
    return library


def version(library: ctypes.CDLL) -> tuple[int, ...]:
    """Returns (major, minor, patch)."""
    parts = []
    for which in range(3):  # libraryPropertyType: MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL
        value = _int()
        _check(library.cusolverGetProperty(which, ctypes.byref(value)))
        parts.append(value.value)
    return tuple(parts)


_of_thread = threading.local()


def solver_of_thread(xp: ModuleType) -> "XsyevBatched":
    """Returns the solver of this thread, because a cuSOLVER handle works on one stream at a time."""
    if not hasattr(_of_thread, "solver"):
        _of_thread.solver = XsyevBatched(xp)
    instance: XsyevBatched = _of_thread.solver
    return instance


class XsyevBatched:
    """Computes eigenvalues and eigenvectors of a batch of symmetric matrices, on the current stream.

    By default XsyevBatched may choose between algorithms for speed, so the bits of a matrix's eigenvectors could depend on
    the size of its batch. CUSOLVER_ALG_1 always uses a single algorithm (cuSOLVER documentation, cusolverDnXsyevBatched).
    cuSOLVER before 12.0 has no such choice.

    Attributes:
        library: libcusolver.

    Raises:
        MemoryError: the GPU has no memory for the workspace.
        RuntimeError: cuSOLVER failed.
    """

    def __init__(self, xp: ModuleType) -> None:
        # CuPy finds libcusolver wherever pip or conda installed it, and loads it; then ``load`` finds it by its name.
        from cupyx import cusolver as _  # noqa: F401

        self._xp, self.library = xp, load()
        self._handle, self._params = _pointer(), _pointer()
        _check(self.library.cusolverDnCreate(ctypes.byref(self._handle)))
        _check(self.library.cusolverDnCreateParams(ctypes.byref(self._params)))
        if version(self.library) >= _SELECTABLE:
            _check(self.library.cusolverDnSetAdvOptions(self._params, _SYEVBATCHED, _ALG_1))

    def __call__(self, matrices: Array) -> tuple[Array, Array]:
        """Solves float64 (p, n, n).

        Returns:
            Values (p, n), ascending, and vectors (p, n, n) as columns. Values are NaN where the iteration did not converge.
        """
        xp, library = self._xp, self.library
        planes, n, _ = matrices.shape
        rows = matrices.copy()  # cuSOLVER overwrites it with the vectors, in columns, which are rows in C order
        values, info = xp.empty((planes, n)), xp.empty(planes, xp.int32)
        stream = xp.cuda.get_current_stream()
        _check(library.cusolverDnSetStream(self._handle, stream.ptr))
        modes = (self._handle, self._params, _VECTORS, _LOWER, n)
        problem = (*modes, _R_64F, rows.data.ptr, n, _R_64F, values.data.ptr, _R_64F)
        on_gpu, on_host = _size(), _size()
        sizes = (ctypes.byref(on_gpu), ctypes.byref(on_host))
        _check(library.cusolverDnXsyevBatched_bufferSize(*problem, *sizes, planes))
        # Zeros, because results have been wrong where the workspace still held data of an earlier call.
        work = xp.zeros(max(on_gpu.value, 1), xp.uint8)
        host = np.zeros(max(on_host.value, 1), np.uint8)
        workspace = (work.data.ptr, on_gpu.value, host.ctypes.data, on_host.value)
        _check(library.cusolverDnXsyevBatched(*problem, *workspace, info.data.ptr, planes))
        if on_host.value:
            stream.synchronize()  # ``host`` must live until the call has ended
        return xp.where(info[:, None] != 0, xp.nan, values), rows.swapaxes(1, 2)


def _check(status: int) -> None:
    """Raises MemoryError or RuntimeError where cuSOLVER reports an error."""
    if status == _ALLOC_FAILED:
        raise MemoryError("cuSOLVER could not allocate memory on the GPU")
    if status:
        raise RuntimeError(f"cuSOLVER failed with status {status}")


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
