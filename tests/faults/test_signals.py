"""Promise: processes of a build or of Ray that are frozen, terminated or killed cost time at most."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.builds import (
    JOB,
    SHARDS,
    Build,
    assert_nothing_partial,
    assert_undisturbed,
    committed,
    completes,
    one_line,
    scratch,
)

pytestmark = [pytest.mark.fault, pytest.mark.ray]


@pytest.mark.parametrize(("times", "samples"), [(4, 20), pytest.param(20, 1, marks=pytest.mark.full)])
def test_frozen_for_a_while_and_then_a_worker_is_asked_to_end(times: int, samples: int, out: Path) -> None:
    """Stops driver, worker and raylet in turn, at random moments, and continues them later: nothing is repeated.

    Then SIGTERM to a worker, as from a batch system that takes a node back: its shard is built again.
    """
    chance = random.Random(times)
    job = (*JOB[:-1], str(samples))
    step = 1600 // samples // times  # shards; the last quarter of the 2,138 images leaves time for the test itself
    with Build(*job, "--workers", 2, out=out) as build:
        find = (lambda: build.pid, lambda: build.some_worker(chance), build.raylet)
        for number in range(times):
            build.wait_for_commits(1 + step * number)
            freeze(build, find[number % 3](), chance.uniform(0, 1.0), step * (number + 1))
        build.wait_for_commits(1 + step * times)
        assert build.errors() == ""
        os.kill(build.some_worker(chance), signal.SIGTERM)
        ended = build.end()
    assert (ended.status, ended.out) == (0, "")
    assert ended.err.count("\n") <= 1  # none if the worker has just ended its shard
    assert all(line.startswith("trying again: ") for line in ended.err.splitlines()), ended.err
    assert_undisturbed(*job, out=out)


def freeze(build: Build, pid: int, seconds: float, commits: int) -> None:
    """Stops a process for some seconds, or until ``commits`` shards are committed: the build continues without it."""
    end = time.monotonic() + seconds
    os.kill(pid, signal.SIGSTOP)
    build.wait_for(lambda: time.monotonic() > end or committed(build.out) >= commits)
    os.kill(pid, signal.SIGCONT)


def test_raylet_killed(out: Path) -> None:
    """Without the raylet no shard can be handed out: one line, not one for each remaining shard."""
    with Build(*JOB, "--workers", 2, out=out) as build:
        build.wait_for_commits(10)
        os.kill(build.raylet(), signal.SIGKILL)
        ended = build.end()
    assert committed(out) < SHARDS
    line = "Ray has stopped on this machine (its raylet died); the same command continues from what is committed"
    assert one_line(ended) == line
    assert ended.err.count("\n") <= 3
    assert_nothing_partial(out, *JOB)
    assert scratch(out) == []
    completes(*JOB, "--workers", 0, out=out)


def test_gcs_killed(out: Path) -> None:
    """Without Ray's server (GCS) no shard is handed out, and after a minute Ray would end the driver."""
    with Build(*JOB, "--workers", 2, out=out) as build:
        build.wait_for_commits(10)
        os.kill(build.process("gcs_server"), signal.SIGKILL)
        ended = build.end()
    assert ended.seconds < 30
    line = "Ray has stopped on this machine (its GCS died); the same command continues from what is committed"
    assert one_line(ended) == line
    assert_nothing_partial(out, *JOB)
    assert scratch(out) == []
    completes(*JOB, "--workers", 0, out=out)
