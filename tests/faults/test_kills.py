"""Promise: after any process was killed at any time, the same command ends with the bytes of an undisturbed build."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.builds import JOB, ROOT, SHARDS, Build, assert_undisturbed, committed, completes, one_line

pytestmark = pytest.mark.fault


@pytest.mark.ray
@pytest.mark.parametrize("rounds", [1, pytest.param(7, marks=pytest.mark.full)])
def test_kills_leave_no_trace(rounds: int, out: Path) -> None:
    """Kills a Ray worker, its driver, and a build without workers, in turn, on one output, between first and last commit.

    The last kill is of a worker: its build continues to the end.
    """
    chance = random.Random(rounds)
    fell: list[tuple[str, int]] = []

    def next_moment(build: Build) -> None:
        build.wait_for_commits(max(committed(out) + 1, SHARDS * (len(fell) + 1) // (3 * rounds + 3)))
        time.sleep(chance.uniform(0, 0.02))

    def kill_worker(build: Build) -> None:
        next_moment(build)
        os.kill(build.some_worker(chance), signal.SIGKILL)
        fell.append(("a worker", committed(out)))

    def kill(build: Build, what: str) -> None:
        next_moment(build)
        build.send(signal.SIGKILL)
        fell.append((what, committed(out)))
        assert build.end().status == -signal.SIGKILL
        assert not (out / "manifest.json").exists()

    for _ in range(rounds):
        with Build(*JOB, "--workers", 2, out=out) as build:
            kill_worker(build)
            kill(build, "the driver of workers")
        with Build(*JOB, "--workers", 0, out=out) as build:
            kill(build, "a single process")
    with Build(*JOB, "--workers", 2, out=out) as build:
        kill_worker(build)
        ended = build.end()
    text = ", ".join(f"{victim} at {shards}" for victim, shards in fell)
    print(f"\n{len(fell)} SIGKILLs, with so many of {SHARDS} shards committed: {text}")
    assert all(0 < shards < SHARDS for _, shards in fell)
    assert (ended.status, ended.out) == (0, "")
    assert all(line.startswith("trying again: ") for line in ended.err.splitlines()), ended.err
    assert "its worker died" in ended.err
    assert_undisturbed(*JOB, out=out)
    completes(*JOB, "--workers", 2, out=out)  # again, with nothing left to do


@pytest.mark.ray
def test_worker_that_dies_again_and_again_ends_the_build(out: Path) -> None:
    killed: set[int] = set()
    job = ("--dataset", "sample", "--ranks", "3,10", "--splits", "test")
    with Build(*job, "--workers", 1, out=out) as build:

        def kill() -> bool:
            for pid in set(build.workers()) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            return len(killed) == 3

        build.wait_for(kill)
        ended = build.end()
    assert ended.err.count("trying again: ") == 2
    assert one_line(ended) == "shard test-000000: its worker died (WorkerCrashedError) (tried 3 times)"
    completes(*job, "--workers", 0, out=out)


@pytest.mark.parametrize(
    ("builds", "kills", "ray"), [(3, 15, 0), pytest.param(100, 500, 4, marks=[pytest.mark.full, pytest.mark.ray])]
)
def test_many_kills(builds: int, kills: int, ray: int) -> None:
    """Many kills in many builds, with a histogram of what the builds were doing."""
    options = ["--builds", str(builds), "--kills", str(kills), "--ray", str(ray)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(f"\n{done.stdout}")
    fell = re.search(r"^(\d+) SIGKILLs between the first and the last commit of (\d+) builds", done.stdout, re.M)
    assert fell
    assert int(fell[1]) >= kills
    assert int(fell[2]) == builds
