"""Requests for GPUs that are missing: one line says what is missing, before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.execution import device
from pipeline.execution.device import Device
from tests.conftest import Build


class Driver:
    """A libcuda of some version, with a number of GPUs."""

    def __init__(self, version: int = 13000, gpus: int = 1) -> None:
        self._version, self._gpus = version, gpus

    def cuInit(self, _: int) -> int:
        return 0 if self._gpus else 100

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self._version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self._gpus
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Driver | None, str | None], None]:
    """Gives this machine a driver and a package of CuPy, or neither."""

    def make(driver: Driver | None, package: str | None) -> None:
        monkeypatch.setattr(device, "_driver", lambda: driver)
        monkeypatch.setattr(device, "_package", lambda: package)

    return make


@pytest.mark.parametrize(
    ("driver", "package", "parts"),
    [
        (None, None, ("CuPy", "cuda13", "NVIDIA driver")),
        (None, "cupy-cuda13x", ("NVIDIA driver",)),
        (Driver(), None, ("CuPy", "cuda13")),
        (Driver(12080), None, ("CuPy", "cuda12")),
        (Driver(12080), "cupy-cuda13x", ("driver is too old for cupy-cuda13x", "CUDA 12")),
        (Driver(gpus=0), "cupy-cuda13x", ("driver", "CUDA_VISIBLE_DEVICES")),
    ],
)
def test_missing_parts_are_named(
    driver: Driver | None, package: str | None, parts: tuple[str, ...], machine: Any
) -> None:
    machine(driver, package)
    assert all(part in device.missing() for part in parts)
    assert ("CuPy is not installed" in device.missing()) == (package is None)
    assert ("no NVIDIA driver" in device.missing()) == (driver is None)


def test_nothing_is_missing_where_driver_package_and_gpu_exist(machine: Any) -> None:
    machine(Driver(), "cupy-cuda12x")
    assert device.missing() == ""


def test_cuda_without_a_gpu_is_refused_before_anything_is_written(
    refused: Callable[..., str], tmp_path: Path, machine: Any
) -> None:
    machine(None, None)
    line = refused("--ranks", 3, "--device", "cuda", "--out", tmp_path / "out", status=1)
    assert all(part in line for part in ("--device cuda", "CuPy", "NVIDIA driver", "--device cpu"))
    assert not (tmp_path / "out").exists()


def test_gpus_are_counted(machine: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    machine(Driver(gpus=2), "cupy-cuda13x")
    assert [Device(kind, most).gpus_here() for kind in ("auto", "cuda") for most in (None, 1, 2)] == [2, 1, 2] * 2
    assert Device("auto", 3).gpus_here() == 2
    assert Device("cpu").gpus_here() == 0
    line = refused("--ranks", 3, "--device", "cuda", "--gpus", 3, "--out", tmp_path / "out", status=1)
    assert "--gpus 3: this machine has 2" in line
    assert "--device cpu" in refused("--ranks", 3, "--device", "cpu", "--gpus", 1, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("driver", "package", "options", "reason"),
    [
        (None, None, (), None),
        (None, "cupy-cuda13x", ("--gpus", 2), "NVIDIA driver"),
        (Driver(), None, (), "CuPy is not installed"),
    ],
)
def test_a_build_reports_what_auto_chose(
    driver: Driver | None,
    package: str | None,
    options: tuple[object, ...],
    reason: str | None,
    machine: Any,
    build: Build,
    tmp_path: Path,
) -> None:
    """With the reason where the user may expect a GPU: a driver is installed, or ``--gpus`` is set."""
    machine(driver, package)
    job = ("--dataset", "sample", "--ranks", 3, "--limit", 4, "--out", tmp_path / "out", *options)
    assert build(*job, "--log-json", tmp_path / "log").status == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (chosen,) = [event["device"] for event in events if event["event"] == "started"]
    assert chosen.startswith("CPU cores")
    assert reason in chosen if reason else chosen == "CPU cores"
