"""Promise: no build depends on the system clock, which may jump by years, during a build or between two."""

import os
import random
import signal
from pathlib import Path

import pytest

from tests.conftest import stamps
from tests.faults.builds import SMALL, Build, assert_undisturbed, committed, completes, run

pytestmark = pytest.mark.fault

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "4", "--limit", "100")  # 50 shards

# Every question for the time is answered with another year.
_JUMPING = """
import datetime, random, time
import pipeline.execution.reporting.events, pipeline.execution.run
_real, _chance = time.time, random.Random({seed})
def _jump():
    return _real() + _chance.uniform(-40, 40) * 365 * 86400
time.time = _jump
time.time_ns = lambda: int(_jump() * 1e9)
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_jump(), tz)
pipeline.execution.reporting.events.datetime = pipeline.execution.run.datetime = Jumping
"""


def test_the_clock_jumps(out: Path) -> None:
    """The clock jumps in a build that is killed, and in the one that continues it."""
    with Build(*JOB, "--workers", 0, out=out, prelude=_JUMPING.format(seed=1)) as build:
        build.wait_for_commits(20)
        build.send(signal.SIGKILL)
        build.end()
    kept = {name: stamp for name, stamp in stamps(out).items() if name.endswith(".tar")}
    ended = run(*JOB, "--workers", 0, out=out, prelude=_JUMPING.format(seed=2))
    assert ended[:3] == (0, "", "")
    assert_undisturbed(*JOB, out=out)
    again = stamps(out)
    same = [name for name in kept if again[name] == kept[name]]
    assert len(same) >= 2 * 20, "what was committed was kept"
    years = {line.split('"time": "')[1][:4] for line in (out / ".build" / "runs.jsonl").read_text().splitlines()}
    assert len(years) > 1, "the clock did jump"


@pytest.mark.ray
@pytest.mark.full
def test_the_clock_jumps_on_ray(out: Path) -> None:
    ended = run(*SMALL, "--workers", 2, out=out, prelude=_JUMPING.format(seed=3))
    assert ended[:3] == (0, "", "")
    assert_undisturbed(*SMALL, out=out)


def test_files_of_any_age(out: Path) -> None:
    """After a copy without times, or from a machine whose clock was wrong, nothing is built again."""
    with Build(*JOB, "--workers", 0, out=out) as build:
        build.wait_for_commits(30)
        build.send(signal.SIGKILL)
        build.end()
    assert committed(out) >= 30
    chance = random.Random(0)
    for path in out.rglob("*"):
        when = chance.choice((0, 2**31 + 10**8, 4 * 10**9))
        os.utime(path, (when, when))
    inodes = {path: path.stat().st_ino for path in out.rglob("*.tar")}
    completes(*JOB, "--workers", 0, out=out)
    assert sum(path.stat().st_ino == inode for path, inode in inodes.items()) >= 2 * 30
