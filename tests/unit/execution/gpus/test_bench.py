"""The benchmark of cards runs to its end, and what it says of NumPy's bytes is what they are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import gpu
from pipeline.execution import device
from pipeline.planning.shard_task import STAGES


def measured(*arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.gpu", "--fake", "--sizes", "32", *arguments]
    root = Path(__file__).resolve().parents[4]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_it_measures_every_candidate() -> None:
    lines = measured("--images", "0")
    stages = [line for line in lines if str(line.get("solver")).startswith("stage")]
    assert [(stage["wrong"], stage["repaired"]) for stage in stages] == [(0, 0)] * 4
    assert next(line for line in lines if str(line.get("solver")).startswith("server"))["images_per_s"] > 0
    assert {line["solver"] for line in lines if line["what"] == "candidate"} >= {
        "syevj",
        "xsyev",
        "jacobi",
        "tridiagonal",
        "xp.linalg.svd",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fake", "--sizes", "32,33"], "--sizes: '33' is not one of 32, 64, 128, 224, 256"),
        (["--fake", "--keep"], "--keep is for the rates of a card, and --fake has none"),
        ([], "it measures a card: CuPy is not installed (pip install -e '.[cuda13]')"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "missing", lambda: "CuPy is not installed (pip install -e '.[cuda13]')")
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m bench.gpu: error: {told}"


@pytest.mark.full
@pytest.mark.ray
def test_it_measures_builds_on_cards_and_with_the_svd_left_out() -> None:
    builds = {line["name"]: line for line in measured("--images", "8", "--workers", "1") if line["what"] == "build"}
    assert list(builds) == ["on cards", "svd left out"]
    assert all(list(build["stages"]) == list(STAGES) and build["images"] == 8 for build in builds.values())
