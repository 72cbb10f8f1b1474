"""What CuPy differs in from NumPy, on NumPy: a namespace for tests, and a way to make it fail on purpose.

Its arrays refuse to become NumPy's by themselves, and to be computed with them; they come back by ``get`` alone. As with
CuPy, an error of the card stays: everything fails from then on.

In other processes faults come from the environment: ``FAKE_CUDA`` is a comma-separated list of ``fault:path``; a fault
happens once in all, for which the file is taken away. Faults: ``sticky``, ``memory``, ``wrong``, ``diverged``.
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
from tests.unit.numerics.cuda import emulator

__name__ = "tests.unit.execution.gpus.fake"
__version__ = "0 (fake)"

float64, float32, int16, int32, int64 = np.float64, np.float32, np.int16, np.int32, np.int64
uint8, uint16 = np.uint8, np.uint16
nan = np.nan
ROOM = 1 << 40  # bytes that are free on the card
PINNED: dict[int, int] = {}  # bytes by address; CUDA does not notice when memory goes that it has pinned
MOST: list[int] = []  # where set: the most bytes of pixels that a batch may have, or memory runs out


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


_stuck: list[str] = []


def _alive() -> None:
    if _stuck:
        raise CUDARuntimeError(_stuck[0])


class Array(NDArrayOperatorsMixin):
    """An array on the card."""

    __array_priority__ = 100

    def __init__(self, host: Any) -> None:
        _alive()
        self._host = np.asarray(host)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        assert method == "__call__" and set(options) <= {"dtype", "casting"}, "CuPy's ufuncs take no more"
        _ours(inputs)
        if out:
            options["out"] = tuple(_host(one) for one in out)
            getattr(ufunc, method)(*map(_host, inputs), **options)
            return out[0]
        return _card(getattr(ufunc, method)(*map(_host, inputs), **options))

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "ndim", "size", "dtype", "nbytes", "itemsize"):
            return getattr(self._host, name)
        if name in _METHODS:
            return lambda *a, **o: _card(
                getattr(self._host, name)(*map(_host, a), **{k: _host(v) for k, v in _options(o).items()})
            )
        raise AttributeError(name)

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
        assert self._host.flags.c_contiguous, "CuPy would copy here, and not be asynchronous"
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


def _card(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_card, value))
    return Array(value) if isinstance(value, (np.ndarray, np.generic)) else value


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_host, index))
    assert not isinstance(index, np.ndarray) or index.ndim == 0, "CuPy takes its own arrays as an index"
    return _host(index)


def _of_numpy(name: str) -> Any:
    def function(*arguments: Any, **options: Any) -> Any:
        _ours(arguments)
        given = [[_host(part) for part in one] if isinstance(one, (list, tuple)) else _host(one) for one in arguments]
        return _card(getattr(np, name)(*given, **{key: _host(value) for key, value in _options(options).items()}))

    return function


def _ours(arguments: Any) -> None:
    """TypeError where one is NumPy's array, or holds one."""
    for one in arguments:
        if isinstance(one, (list, tuple)):
            _ours(one)
        elif isinstance(one, np.ndarray) and one.ndim:
            raise TypeError(f"Unsupported type {type(one)}")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    assert not given.keys() & {"where", "initial"}, "CuPy's reductions have none"
    return given


_SHARED = """abs arange ascontiguousarray clip concatenate count_nonzero empty eye full maximum multiply rint sqrt stack
subtract trace where zeros zeros_like"""
for _name in _SHARED.split():
    globals()[_name] = _of_numpy(_name)


def asarray(value: Any) -> Array:
    return value if isinstance(value, Array) else Array(np.array(value))


def _fault(kind: str) -> bool:
    for one in filter(None, os.environ.get("FAKE_CUDA", "").split(",")):
        name, _, path = one.partition(":")
        if name == kind:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
                return True
    return False


def _eigh(matrices: Array) -> tuple[Array, Array]:
    _alive()
    values, vectors = np.linalg.eigh(matrices._host)
    if len(matrices) == 1:  # a server's rehearsal
        return Array(values), Array(vectors)
    if _fault("wrong"):
        busiest = values[:, -2].argmax()  # of a flat plane they might be right
        vectors[busiest] = np.roll(vectors[busiest], 1, axis=0)  # orthonormal all the same
    if _fault("diverged"):
        values[-1] = np.nan
    return Array(values), Array(vectors)


linalg = types.SimpleNamespace(eigh=_eigh)
_real_solver = xsyev.solver
xsyev.solver = lambda xp: _eigh if xp.__name__ == __name__ else _real_solver(xp)  # type: ignore[assignment,return-value]
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


def _let_go(address: int) -> None:
    if PINNED.pop(address, None) is None:
        raise CUDARuntimeError("cudaErrorHostMemoryNotRegistered")


cuda = types.SimpleNamespace(
    Stream=Stream,
    runtime=types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        memGetInfo=lambda: (ROOM, ROOM),
        hostRegister=_pin,
        hostUnregister=_let_go,
        getDevice=lambda: 0,
        getDeviceProperties=lambda _: {"name": b"Fake", "sharedMemPerBlockOptin": 227 << 10},
        deviceSynchronize=lambda: None,
    ),
)


def get_default_memory_pool() -> Any:
    return types.SimpleNamespace(free_all_blocks=lambda: None)


@contextlib.contextmanager
def faults(folder: Path, *kinds: str) -> Iterator[None]:
    """Each of these happens once, in whichever process comes to it first."""
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
