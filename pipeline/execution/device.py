"""Counts the GPUs of this machine through the NVIDIA driver's library, without CuPy. Heeds ``CUDA_VISIBLE_DEVICES``."""

import contextlib
import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from pipeline.errors import PipelineError

# CuPy's packages, and the lowest CUDA version that the driver must support for each (1000 major + 10 minor).
_PACKAGES = {"cupy-cuda13x": 13000, "cupy-cuda12x": 12000}
_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC


@dataclass(frozen=True)
class Device:
    """What a build is to compute on.

    Attributes:
        kind: ``cpu``, ``cuda`` (GPUs are required) or ``auto`` (GPUs if there are any).
        gpus: the most GPUs to use; None for all.
        namespace: the name of the module whose arrays are on the GPU.
    """

    kind: str = "cpu"
    gpus: int | None = None
    namespace: str = "cupy"

    def gpus_here(self) -> int:
        """Returns how many GPUs of this machine to use. Raises PipelineError if too few are there for ``cuda``."""
        if self.kind == "cpu":
            return 0
        lacks = missing()
        if self.kind == "cuda" and lacks:
            raise PipelineError(f"--device cuda: {lacks}; --device cpu builds without a GPU")
        visible = 0 if lacks else visible_gpus()
        if self.kind == "cuda" and self.gpus and self.gpus > visible:
            raise PipelineError(f"--gpus {self.gpus}: this machine has {visible} that CUDA_VISIBLE_DEVICES shows")
        return visible if self.gpus is None else min(visible, self.gpus)


CPU = Device()


def missing() -> str:
    """Returns in words what this machine lacks to use a GPU: the package, the driver or the GPU; empty if nothing."""
    driver, package = _driver(), _package()
    newest = max((name for name, least in _PACKAGES.items() if least <= _version(driver)), default="cupy-cuda13x")
    extra = newest.removeprefix("cupy-").removesuffix("x")
    lacks = []
    if package is None:
        lacks.append(f"CuPy is not installed (pip install -e '.[{extra}]')")
    if driver is None:
        lacks.append("there is no NVIDIA driver (libcuda.so.1)")
    elif package and _version(driver) < _PACKAGES[package]:
        lacks.append(f"the driver is too old for {package} (it supports CUDA {_version(driver) // 1000})")
    elif not visible_gpus():
        lacks.append("the driver finds no GPU, or CUDA_VISIBLE_DEVICES hides it")
    return ", and ".join(lacks)


def visible_gpus() -> int:
    """Returns how many GPUs the driver shows to this process."""
    driver, count = _driver(), ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def wait_asleep() -> None:
    """Lets threads that wait for the GPU sleep instead of spin. Call it before CuPy first uses the GPU."""
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
