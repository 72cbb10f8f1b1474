"""The compilation of loops is announced in one line, and loops that are loaded from the cache are not."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numba
import numpy as np
import pytest

from pipeline.execution import compiled_loops
from pipeline.formats import png
from pipeline.numerics import batch, resample
from pipeline.planning.shard_task import ShardTask

LINE = "compiling loops for this processor, once on this machine\n"


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ``load`` compile two small functions instead of the loops of a build."""

    def load(_: Sequence[int]) -> None:
        for number in (1, 2):
            numba.njit(lambda x, number=number: x + number)(1)

    monkeypatch.setattr(batch, "load_compiled_loops", load)


@pytest.mark.usefixtures("compiles")
def test_compilation_is_announced_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    compiled_loops.load()
    assert capsys.readouterr().err == LINE
    numba.njit(lambda x: x + 3)(1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("compiles")
def test_quiet_builds_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    compiled_loops.load(quiet=True)
    assert capsys.readouterr().err == ""


def test_loops_in_the_cache_are_not_announced(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(
        "from pipeline.numerics.jit import compiled\nfrom pipeline.execution import compiled_loops as loops\n"
        "@compiled\ndef double(x):\n    return 2 * x\n"
        "loops.batch.load_compiled_loops = lambda _: double(1.5)\nloops._load_formats = lambda: None\nloops.load()\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(tmp_path / "loops.py")]
    lines = [subprocess.run(command, env=environment, capture_output=True, text=True).stderr for _ in range(2)]
    assert lines == [LINE, ""]


def test_the_loops_of_a_build_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(batch, "load_compiled_loops", lambda sides: calls.append(f"cuts {sides}"))
    real = png.encode

    def encode(pixels: np.ndarray, filter_type: int) -> object:
        calls.append(f"png {filter_type}")
        return real(pixels, filter_type)

    monkeypatch.setattr(png, "encode", encode)
    compiled_loops.load()
    assert calls == ["cuts (64, 65)", f"png {png.NONE}", f"png {png.AVERAGE}"]
    assert resample._down.signatures and resample._across.signatures


@pytest.mark.full
def test_two_processes_share_the_compilation(tmp_path: Path) -> None:
    code = (
        "from numba.core import event\nfrom pipeline.execution import compiled_loops\nfrom pipeline.formats import png\n"
        "with event.install_recorder('numba:compile') as compiled:\n    compiled_loops.load((64,))\n"
        "print({e.data['dispatcher'].py_func.__module__.rpartition('.')[0] for _, e in compiled.buffer})\n"
        "print(png._encode.stats.cache_hits.total())"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    folders, hits = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "pipeline.numerics.kernels.small" in folders
    assert "pipeline.formats" not in folders and "pipeline.numerics.kernels.large" not in folders
    assert hits == "1"


@pytest.mark.parametrize(
    ("shape", "side", "sides"),
    [((32, 32), 32, (64,)), ((64, 99), 64, (64,)), ((224, 224), 224, (65,)), (None, 500, (64, 65))],
)
def test_a_build_loads_the_kernels_of_its_sizes(
    shape: tuple[int, int] | None, side: int, sides: tuple[int, ...]
) -> None:
    task = SimpleNamespace(shape=shape, side=side)
    assert compiled_loops.sides_of(cast(ShardTask, task)) == sides
