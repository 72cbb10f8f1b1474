"""Promise: whatever is killed, whenever, the same command ends with the bytes of an undisturbed build."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.builds import JOB, SHARDS, Build, assert_undisturbed, committed, completes, one_line

pytestmark = pytest.mark.fault


@pytest.mark.ray
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.full)])
def test_kills_leave_no_trace(kills: int, out: Path) -> None:
    """A Ray worker, its driver, and a build in one process, in turn, on one output, between first and last commit."""
    chance = random.Random(kills)
    fell: list[tuple[str, int]] = []

    def next_moment(build: Build) -> None:
        build.wait_for_commits(max(committed(out) + 1, SHARDS * (len(fell) + 1) // (kills + 2)))
        time.sleep(chance.uniform(0, 0.02))

    while len(fell) < kills:
        with Build(*JOB, "--workers", 2, out=out) as build:
            next_moment(build)
            build.wait_for(lambda build=build: build.workers())  # type: ignore[misc]
            os.kill(chance.choice(build.workers()), signal.SIGKILL)
            fell.append(("a worker", committed(out)))
            next_moment(build)  # the driver goes on without it
            build.send(signal.SIGKILL)
            fell.append(("the driver of workers", committed(out)))
            assert build.end().status == -signal.SIGKILL
        with Build(*JOB, "--workers", 0, out=out) as build:
            next_moment(build)
            build.send(signal.SIGKILL)
            fell.append(("a single process", committed(out)))
            assert build.end().status == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    told = ", ".join(f"{victim} at {shards}" for victim, shards in fell)
    print(f"\n{len(fell)} SIGKILLs, with so many of {SHARDS} shards committed: {told}")
    assert all(0 < shards < SHARDS for _, shards in fell)
    completes(*JOB, "--workers", 2, out=out)


@pytest.mark.ray
def test_build_survives_its_worker(out: Path) -> None:
    with Build(*JOB, "--workers", 2, out=out) as build:
        build.wait_for_commits(20)
        build.wait_for(lambda: bool(build.workers()))
        os.kill(build.workers()[0], signal.SIGKILL)
        assert committed(build.out) < SHARDS
        ended = build.end()
    assert ended.status == 0
    assert ended.err.count("trying again: ") == ended.err.count("\n") == 1
    assert "its worker died" in ended.err
    assert_undisturbed(*JOB, out=out)


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
