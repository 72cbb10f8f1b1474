"""A substitute for CuPy that computes with NumPy, refuses what CuPy refuses, and can be made to fail.

As with CuPy, its arrays do not convert to NumPy arrays implicitly and do not mix with them; ``get`` copies them to the host.
A CUDA error stays: every later operation fails too.

Other processes read faults from the environment variable ``FAKE_CUDA``, a comma-separated list of ``fault:path``. A fault
happens once, in the process that removes its file first. Faults: ``sticky``, ``memory``, ``wrong``, ``diverged``.
"""

import contextlib
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from pipeline.numerics.cuda import xsyev
from tests.bench.gpu import emulator

__name__ = "tests.unit.execution.gpus.fake"
__version__ = "0 (fake)"

float64, float32, int16, int32, int64 = np.float64, np.float32, np.int16, np.int32, np.int64
uint8, uint16 = np.uint8, np.uint16
nan = np.nan
ROOM = 1 << 40  # free bytes of the GPU
PINNED: dict[int, int] = {}  # bytes by address; CUDA does not notice when pinned memory is unmapped
MOST: list[int] = []  # where set: the largest batch, in bytes of pixels, that does not run out of memory


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


_stuck: list[str] = []


def _alive() -> None:
    if _stuck:
        raise CUDARuntimeError(_stuck[0])


class Array(NDArrayOperatorsMixin):
    """An array on the GPU."""

    __array_priority__ = 100

    def __init__(self, host: Any) -> None:
        _alive()
        self._host = np.asarray(host)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        assert method == "__call__" and set(options) <= {"dtype", "casting"}, "CuPy's ufuncs take no more"
        _refuse_numpy(inputs)
        if out:
            options["out"] = tuple(map(_host, out))
            getattr(ufunc, method)(*map(_host, inputs), **options)
            return out[0]
        return _wrap(getattr(ufunc, method)(*map(_host, inputs), **options))

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "ndim", "size", "dtype", "nbytes", "itemsize"):
            return getattr(self._host, name)
        if name in _METHODS:
            return lambda *a, **o: _wrap(
                getattr(self._host, name)(*map(_host, a), **{k: _host(v) for k, v in _options(o).items()})
            )
        raise AttributeError(name)

    @property
    def data(self) -> Any:
        """Its memory; ``ptr`` is the address."""
        return types.SimpleNamespace(ptr=self._host.ctypes.data)

    @property
    def T(self) -> "Array":
        return Array(self._host.T)

    def __getitem__(self, index: Any) -> Any:
        return Array(self._host[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("cannot copy from a NumPy array; use asarray")
        self._host[_index(index)] = _host(value)

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        _alive()
        if out is None:
            return self._host.copy()
        assert out.flags.c_contiguous and out.dtype == self.dtype and out.shape == self.shape
        assert self._host.flags.c_contiguous, "CuPy would make a copy here, which is not asynchronous"
        out[...] = self._host
        result: np.ndarray = out
        return result

    def set(self, array: np.ndarray, stream: Any = None) -> None:
        assert type(array) is np.ndarray and array.shape == self.shape and array.dtype == self.dtype
        assert array.flags.c_contiguous
        if MOST and array.nbytes > MOST[0]:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes")
        if _fault("sticky"):
            _stuck.append("cudaErrorIllegalAddress: an illegal memory access was encountered")
        if _fault("memory"):
            raise OutOfMemoryError("Out of memory allocating 1 bytes")
        self._host[...] = array


_METHODS = {"astype", "reshape", "swapaxes", "max", "min", "sum", "any", "all", "copy", "transpose"}


def _host(value: Any) -> Any:
    return value._host if isinstance(value, Array) else value


def _wrap(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_wrap, value))
    return Array(value) if isinstance(value, (np.ndarray, np.generic)) else value


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_host, index))
    assert not isinstance(index, np.ndarray) or index.ndim == 0, "CuPy takes only its own arrays as an index"
    return _host(index)


def _of_numpy(name: str) -> Any:
    def function(*arguments: Any, **options: Any) -> Any:
        _refuse_numpy(arguments)
        on_host = [[*map(_host, each)] if isinstance(each, (list, tuple)) else _host(each) for each in arguments]
        return _wrap(getattr(np, name)(*on_host, **{key: _host(value) for key, value in _options(options).items()}))

    return function


def _refuse_numpy(arguments: Any) -> None:
    """Raises TypeError where an argument is a NumPy array, or contains one."""
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            _refuse_numpy(argument)
        elif isinstance(argument, np.ndarray) and argument.ndim:
            raise TypeError(f"Unsupported type {type(argument)}")


def _options(options: dict[str, Any]) -> dict[str, Any]:
    assert not options.keys() & {"where", "initial"}, "CuPy's reductions do not have these"
    return options


_SHARED = """abs arange ascontiguousarray clip concatenate count_nonzero empty eye full maximum multiply rint sqrt stack
subtract trace where zeros zeros_like"""
for _name in _SHARED.split():
    globals()[_name] = _of_numpy(_name)


def asarray(value: Any) -> Array:
    return value if isinstance(value, Array) else Array(np.array(value))


def _fault(kind: str) -> bool:
    for entry in filter(None, os.environ.get("FAKE_CUDA", "").split(",")):
        name, _, path = entry.partition(":")
        if name == kind:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
                return True
    return False


def _eigh(matrices: Array) -> tuple[Array, Array]:
    _alive()
    values, vectors = np.linalg.eigh(matrices._host)
    if len(matrices) == 1:  # the test of a server that starts: faults are for real work
        return Array(values), Array(vectors)
    if _fault("wrong"):
        busiest = values[:, -2].argmax()  # of a flat plane the exchanged rows might be equal
        vectors[busiest] = np.roll(vectors[busiest], 1, axis=0)  # still orthonormal
    if _fault("diverged"):
        values[-1] = np.nan
    return Array(values), Array(vectors)


linalg = types.SimpleNamespace(eigh=_eigh)
_real_solver = xsyev.solver_of_thread
xsyev.solver_of_thread = lambda xp: _eigh if xp.__name__ == __name__ else _real_solver(xp)  # type: ignore[assignment,return-value]
RawModule = emulator.RawModule


class Stream:
    ptr = 0

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        _alive()


def _pin(address: int, size: int, _: int) -> None:
    if any(address < start + length and start < address + size for start, length in PINNED.items()):
        raise CUDARuntimeError("cudaErrorHostMemoryAlreadyRegistered")
    PINNED[address] = size


def _unpin(address: int) -> None:
    if PINNED.pop(address, None) is None:
        raise CUDARuntimeError("cudaErrorHostMemoryNotRegistered")


cuda = types.SimpleNamespace(
    Stream=Stream,
    get_current_stream=lambda: Stream(non_blocking=True),
    runtime=types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        memGetInfo=lambda: (ROOM, ROOM),
        hostRegister=_pin,
        hostUnregister=_unpin,
        getDevice=lambda: 0,
        getDeviceProperties=lambda _: {"name": b"Fake", "sharedMemPerBlockOptin": 227 << 10},
        deviceSynchronize=lambda: None,
    ),
)


def get_default_memory_pool() -> Any:
    return types.SimpleNamespace(free_all_blocks=lambda: None)


@contextlib.contextmanager
def faults(folder: Path, *kinds: str) -> Iterator[None]:
    """Makes each of these faults happen once, in the process that comes to it first."""
    before, paths = os.environ.get("FAKE_CUDA"), []
    for i, kind in enumerate(kinds):
        (folder / f"{kind}{i}").touch()
        paths.append(f"{kind}:{folder / f'{kind}{i}'}")
    os.environ["FAKE_CUDA"] = ",".join(paths)
    try:
        yield
    finally:
        _stuck.clear()
        os.environ.pop("FAKE_CUDA")
        if before is not None:
            os.environ["FAKE_CUDA"] = before
