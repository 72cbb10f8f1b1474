"""The binding of cuSOLVER's XsyevBatched, with a stand-in for libcusolver."""

import ctypes
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.numerics.cuda import xsyev
from tests.unit.execution.gpus import fake
from tests.unit.numerics.cuda.planes import gram, planes

_SUCCESS, _INVALID_VALUE = 0, 3  # cusolverStatus_t
_WORKSPACE = 64  # bytes, on the GPU and on the host


class Cusolver:
    """A libcusolver of some version. It solves with LAPACK, in the memory that the pointers point to.

    As the documentation allows, its default algorithm depends on the size of the batch: vectors of a matrix that is not
    alone have other signs. CUSOLVER_ALG_1 always uses one algorithm. Before 12.0 no algorithm can be selected.
    """

    def __init__(self, version: tuple[int, int, int], status: int = _SUCCESS) -> None:
        self._version, self._status = version, status
        self._algorithm = 0
        self._functions: dict[str, Callable[..., int]] = {
            "cusolverDnCreate": lambda handle: self._new(handle),
            "cusolverDnCreateParams": lambda params: self._new(params),
            "cusolverDnSetAdvOptions": self._select,
            "cusolverDnSetStream": lambda handle, stream: _SUCCESS,
            "cusolverGetProperty": self._property,
            "cusolverDnXsyevBatched_bufferSize": self._sizes,
            "cusolverDnXsyevBatched": self._solve,
        }
        if version < (11, 7, 1):
            del self._functions["cusolverDnXsyevBatched"]

    def __getattr__(self, name: str) -> Any:
        if name not in self._functions:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            plain = (value.value if isinstance(value, ctypes._SimpleCData) else value for value in arguments)
            return self._functions[name](*plain)

        vars(self)[name] = call  # to which the binding assigns argtypes
        return call

    def _new(self, out: Any) -> int:
        out._obj.value = 1234
        return _SUCCESS

    def _property(self, which: int, out: Any) -> int:
        out._obj.value = self._version[which]
        return _SUCCESS

    def _select(self, params: int, function: int, algorithm: int) -> int:
        if self._version < (12, 0, 0) or function != 2 or algorithm not in (0, 1):
            return _INVALID_VALUE
        self._algorithm = algorithm
        return _SUCCESS

    def _sizes(self, *arguments: Any) -> int:
        for out in arguments[11:13]:
            out._obj.value = _WORKSPACE
        return _SUCCESS

    def _solve(self, *arguments: Any) -> int:
        _handle, _params, jobz, uplo, n, kind, a, lda, kind_w, w, compute_type = arguments[:11]
        work, on_gpu, host, on_host, info, planes = arguments[11:]
        assert (jobz, uplo, kind, kind_w, compute_type, lda) == (1, 0, 1, 1, 1, n)
        assert (on_gpu, on_host) == (_WORKSPACE, _WORKSPACE)
        assert not at(work, ctypes.c_uint8, on_gpu).any(), "the workspace must be zero"
        assert host
        matrices = at(a, ctypes.c_double, planes * n * n).reshape(planes, n, n)
        values, vectors = np.linalg.eigh(matrices)
        sign = -1 if self._algorithm == 0 and planes > 1 else 1
        at(w, ctypes.c_double, planes * n)[:] = values.ravel()
        matrices[:] = sign * vectors.swapaxes(1, 2)  # columns are stored one after another
        at(info, ctypes.c_int32, planes)[:] = 0
        return self._status


def at(address: int, kind: Any, count: int) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(kind)), (count,))


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Returns a function that makes a solver, with a stand-in for a version of cuSOLVER."""

    def make(version: tuple[int, int, int], status: int = _SUCCESS) -> Any:
        library = Cusolver(version, status)
        monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: library)
        monkeypatch.setitem(sys.modules, "cupyx", types.SimpleNamespace(cusolver=None))
        batched = xsyev.XsyevBatched(fake)
        return lambda matrices: [array.get() for array in batched(fake.asarray(matrices))]

    return make


@pytest.mark.parametrize("version", [(11, 7, 5), (12, 0, 4)])
def test_values_are_ascending_and_vectors_are_columns(version: tuple[int, int, int], solver: Any) -> None:
    matrices = gram(planes(40))
    values, vectors = solver(version)(matrices)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrices), atol=1e-6)
    np.testing.assert_allclose(matrices @ vectors, vectors * values[:, None, :], atol=1e-6)


def test_bits_of_a_matrix_do_not_depend_on_its_batch(solver: Any) -> None:
    """Without the selection of one algorithm the stand-in returns other signs for a matrix alone."""
    matrices = gram(planes(40))
    solve = solver((12, 0, 4))
    together = solve(matrices)
    for i in range(len(matrices)):
        for array, whole in zip(solve(matrices[i : i + 1]), together, strict=True):
            np.testing.assert_array_equal(array[0], whole[i])


@pytest.mark.parametrize(("status", "error"), [(2, MemoryError), (6, RuntimeError)])
def test_errors_of_cusolver_are_raised(status: int, error: type[Exception], solver: Any) -> None:
    with pytest.raises(error):
        solver((12, 0, 4), status)(gram(planes(8)))


@pytest.mark.parametrize(
    ("version", "text"), [((11, 6, 9), "has no cusolverDnXsyevBatched"), ((11, 7, 2), "11.7.2 can return wrong")]
)
def test_a_cusolver_that_is_too_old_is_refused(
    version: tuple[int, int, int], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: Cusolver(version))
    with pytest.raises(PipelineError, match=text):
        xsyev.load()


def test_the_loaded_cusolver_is_preferred_to_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy for CUDA 12 has loaded the former; the loader would find the toolkit of CUDA 13 beside it."""
    loaded = []

    def load(name: str, mode: int) -> Cusolver:
        if mode & os.RTLD_NOLOAD and name.endswith("12"):
            raise OSError(name)
        loaded.append(name)
        return Cusolver((11, 7, 5))

    monkeypatch.setattr(ctypes, "CDLL", load)
    xsyev.load()
    assert loaded == ["libcusolver.so.11"]


def test_a_missing_cusolver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str, mode: int) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", nowhere)
    with pytest.raises(PipelineError, match="cuSOLVER .* is missing"):
        xsyev.load()
