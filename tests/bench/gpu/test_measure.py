"""The benchmark of GPUs runs to its end on a substitute, and reports NumPy's bytes as right."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import __main__ as command
from bench.gpu import candidates
from bench.gpu.measure import Clock, measure
from pipeline.execution import device
from pipeline.planning.shard_task import STAGES
from tests.bench.gpu import emulator
from tests.unit.execution.gpus import fake


def printed(*arguments: str) -> list[dict[str, Any]]:
    """Runs the command. Returns the lines that it prints."""
    root = Path(__file__).resolve().parents[3]
    result = subprocess.run(
        [sys.executable, "-m", "bench.gpu", "--fake", *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.skipif(not emulator.COMPILER, reason="needs g++")
def test_every_solver_is_measured() -> None:
    results = {result["solver"]: result for result in measure(Clock(32, fake, 1e-3), 3, (3, 20))}
    stages = [result for name, result in results.items() if name.startswith("stage with")]
    assert [(stage["wrong"], stage["repaired"]) for stage in stages] == [(0, 0)] * len(candidates.SOLVERS)
    assert next(result for name, result in results.items() if name.startswith("server"))["images_per_s"] > 0
    assert results.keys() >= {*candidates.SOLVERS, *(f"guarded {name}" for name in candidates.SOLVERS)}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["--fake", "--sizes", "32,33"], "--sizes: '33' is not one of 32, 64"), ([], "CuPy is not installed")],
)
def test_a_mistake_is_reported_in_one_line(
    arguments: list[str], part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "missing", lambda: "CuPy is not installed")
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert part in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.full
@pytest.mark.ray
def test_the_command_measures_solvers_and_builds() -> None:
    lines = printed("--sizes", "32", "--images", "8", "--workers", "1")
    assert {line["solver"] for line in lines if line["what"] == "solver"} >= {"syevj", "xsyev", "xp.linalg.svd"}
    builds = {line["name"]: line for line in lines if line["what"] == "build"}
    assert list(builds) == ["on GPUs", "without the SVD stage"]
    assert all(list(build["stages"]) == list(STAGES) and build["images"] == 8 for build in builds.values())
