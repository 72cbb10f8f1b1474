"""The benchmark of cards runs to its end, and what it says of NumPy's bytes is what they are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.work import STAGES


def measured(*arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.gpu", "--fake", "--sizes", "32", *arguments]
    root = Path(__file__).resolve().parents[2]
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


@pytest.mark.full
@pytest.mark.ray
def test_it_measures_builds_on_cards_and_with_the_svd_left_out() -> None:
    builds = {line["name"]: line for line in measured("--images", "8", "--workers", "1") if line["what"] == "build"}
    assert list(builds) == ["on cards", "svd left out"]
    assert all(list(build["stages"]) == list(STAGES) and build["images"] == 8 for build in builds.values())
