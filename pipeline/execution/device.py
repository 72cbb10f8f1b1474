"""Which cards there are, found out without CuPy, by the driver's own library. It heeds ``CUDA_VISIBLE_DEVICES``."""

import contextlib
import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from pipeline.errors import PipelineError

# CuPy's packages, and the least CUDA version of a driver that runs their CUDA libraries (1000 major + 10 minor).
_PACKAGES = {"cupy-cuda13x": 13000, "cupy-cuda12x": 12000}
_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC


@dataclass(frozen=True)
class Device:
    """What a build is to compute on.

    Attributes:
        kind: ``cpu``; ``cuda``, and nothing else will do; or ``auto``, cards where there are any.
        gpus: cards at most; None for all.
        namespace: the module whose arrays live on the card.
    """

    kind: str = "cpu"
    gpus: int | None = None
    namespace: str = "cupy"

    def cards_here(self) -> int:
        """Cards of this machine that are to be used. Raises PipelineError: ``cuda``, and there is none, or too few."""
        if self.kind == "cpu":
            return 0
        lacks = missing()
        if self.kind == "cuda" and lacks:
            raise PipelineError(f"--device cuda: {lacks}; --device cpu builds without")
        found = 0 if lacks else cards()
        if self.kind == "cuda" and self.gpus and self.gpus > found:
            raise PipelineError(f"--gpus {self.gpus}: this machine has {found} that CUDA_VISIBLE_DEVICES lets one see")
        return found if self.gpus is None else min(found, self.gpus)


CPU = Device()


def missing() -> str:
    """What a card needs and this machine lacks, in words: the package, the driver, a card; empty for nothing."""
    driver, package = _driver(), _package()
    newest = max((name for name, least in _PACKAGES.items() if least <= _version(driver)), default="cupy-cuda13x")
    extra = newest.removeprefix("cupy-").removesuffix("x")
    lacks = []
    if package is None:
        lacks.append(f"CuPy is not installed (pip install -e '.[{extra}]')")
    if driver is None:
        lacks.append("there is no NVIDIA driver (libcuda.so.1)")
    elif package and _version(driver) < _PACKAGES[package]:
        lacks.append(f"the driver is too old for {package} (it knows CUDA {_version(driver) // 1000})")
    elif not cards():
        lacks.append("the driver finds no card, or CUDA_VISIBLE_DEVICES hides it")
    return ", and ".join(lacks)


def cards() -> int:
    """Those that the driver shows to this process."""
    driver, count = _driver(), ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def wait_asleep() -> None:
    """Let threads of this process that wait for the card sleep, not spin: call before CuPy first uses it."""
    driver = _driver()
    if driver is not None and not driver.cuInit(0):
        driver.cuDevicePrimaryCtxSetFlags_v2(0, _BLOCKING_SYNC)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _version(driver: ctypes.CDLL | None) -> int:
    version = ctypes.c_int()
    if driver is not None:
        driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def _package() -> str | None:
    """Returns the name of CuPy's installed package. Looks for these alone: to list all packages takes 0.3 seconds."""
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            distribution(name)
            return name
    return None
