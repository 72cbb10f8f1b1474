"""What a build says of cards that it has not got: one line, before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.execution import device
from pipeline.execution.device import Device
from tests.conftest import Build


class Driver:
    """libcuda of a version and with so many cards."""

    def __init__(self, version: int = 13000, cards: int = 1) -> None:
        self._version, self._cards = version, cards

    def cuInit(self, _: int) -> int:
        return 0 if self._cards else 100

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self._version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self._cards
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Driver | None, str | None], None]:
    """Makes this machine one with a driver and a package of CuPy, or without."""

    def make(driver: Driver | None, package: str | None) -> None:
        monkeypatch.setattr(device, "_driver", lambda: driver)
        monkeypatch.setattr(device, "_package", lambda: package)

    return make


@pytest.mark.parametrize(
    ("driver", "package", "lacks"),
    [
        (
            None,
            None,
            "CuPy is not installed (pip install -e '.[cuda13]'), and there is no NVIDIA driver (libcuda.so.1)",
        ),
        (None, "cupy-cuda13x", "there is no NVIDIA driver (libcuda.so.1)"),
        (Driver(), None, "CuPy is not installed (pip install -e '.[cuda13]')"),
        (Driver(12080), None, "CuPy is not installed (pip install -e '.[cuda12]')"),
        (Driver(12080), "cupy-cuda13x", "the driver is too old for cupy-cuda13x (it knows CUDA 12)"),
        (Driver(cards=0), "cupy-cuda13x", "the driver finds no card, or CUDA_VISIBLE_DEVICES hides it"),
        (Driver(), "cupy-cuda12x", ""),
    ],
)
def test_what_is_missing_is_named(driver: Driver | None, package: str | None, lacks: str, machine: Any) -> None:
    machine(driver, package)
    assert device.missing() == lacks


def test_cuda_without_a_card_is_refused_before_anything_is_written(
    refused: Callable[..., str], tmp_path: Path, machine: Any
) -> None:
    machine(None, None)
    line = refused("--ranks", 3, "--device", "cuda", "--out", tmp_path / "out", status=1)
    assert line == (
        "--device cuda: CuPy is not installed (pip install -e '.[cuda13]'), and there is no NVIDIA driver "
        "(libcuda.so.1); --device cpu builds without"
    )
    assert not (tmp_path / "out").exists()


def test_gpus_are_counted(machine: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    machine(Driver(cards=2), "cupy-cuda13x")
    assert [Device(kind, most).cards_here() for kind in ("auto", "cuda") for most in (None, 1, 2)] == [2, 1, 2] * 2
    assert Device("auto", 3).cards_here() == 2
    assert Device("cpu").cards_here() == 0
    line = refused("--ranks", 3, "--device", "cuda", "--gpus", 3, "--out", tmp_path / "out", status=1)
    assert line == "--gpus 3: this machine has 2 that CUDA_VISIBLE_DEVICES lets one see"
    line = refused("--ranks", 3, "--device", "cpu", "--gpus", 1, "--out", tmp_path / "out")
    assert line == "gpus: does not go with --device cpu; leave one of them out"


@pytest.mark.parametrize(
    ("driver", "package", "options", "told"),
    [
        (None, None, (), "CPU cores"),
        (None, "cupy-cuda13x", ("--gpus", 2), "CPU cores (there is no NVIDIA driver (libcuda.so.1))"),
        (Driver(), None, (), "CPU cores (CuPy is not installed (pip install -e '.[cuda13]'))"),
    ],
)
def test_auto_says_what_it_took(
    driver: Driver | None,
    package: str | None,
    options: tuple[object, ...],
    told: str,
    machine: Any,
    build: Build,
    tmp_path: Path,
) -> None:
    machine(driver, package)
    job = ("--dataset", "sample", "--ranks", 3, "--limit", 4, "--out", tmp_path / "out", *options)
    assert build(*job, "--log-json", tmp_path / "log").status == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [event["device"] for event in events if event["event"] == "started"] == [told]
