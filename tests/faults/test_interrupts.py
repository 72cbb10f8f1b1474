"""Promise: Ctrl-C and SIGTERM stop a build within seconds, in one line. Nothing is left, and the same command continues."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.builds import JOB, SHARDS, SMALL, Build, assert_nothing_partial, committed, completes, scratch

pytestmark = pytest.mark.fault

SECONDS = 10.0
STOPPED = "stopped; what is committed stays, and the same command continues from there\n"
WORKERS = [0, pytest.param(2, marks=pytest.mark.ray)]

# Sends a signal to this process when it is about to import a module.
_AT_IMPORT = """
import os
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupt())
"""


def stop(build: Build, how: signal.Signals, starting: bool = False) -> None:
    """Sends the signal, and checks that the build and all its processes end.

    Args:
        starting: Ray is just starting. The build waits for it, and Ray may itself print lines about a SIGTERM.
    """
    if how is signal.SIGINT:
        build.press_ctrl_c()
    else:
        build.send(how)
    must_stop(build, starting and how is signal.SIGTERM, within=3 * SECONDS if starting else SECONDS)


def must_stop(build: Build, noisy: bool = False, within: float = SECONDS) -> None:
    start = time.monotonic()
    ended = build.end(within)
    lines = re.sub(r"(?m)^(\*\*\* SIGTERM|PC: @|    @|\[.*logging\.cc).*\n", "", ended.err) if noisy else ended.err
    assert (ended.status, ended.out, lines) == (1, "", STOPPED), ended.err
    while build.processes():
        assert time.monotonic() - start < within, f"still there: {build.processes()}"
        time.sleep(0.02)
    if (build.out / ".build" / "tmp").exists():
        assert scratch(build.out) == []
        assert_nothing_partial(build.out, *JOB)


@pytest.mark.parametrize("workers", WORKERS)
def test_ctrl_c_and_sigterm_stop_at_once(workers: int, out: Path) -> None:
    """During the work: one signal after the other on the same output, which is then completed without workers (faster)."""
    for aim, how in (SHARDS // 4, signal.SIGINT), (SHARDS // 2, signal.SIGTERM):
        with Build(*JOB, "--workers", workers, out=out) as build:
            build.wait_for_commits(aim)
            stop(build, how)
            assert aim <= committed(out) < SHARDS
    completes(*JOB, "--workers", 0, out=out)


@pytest.mark.parametrize(
    ("module", "how"),
    [
        ("numpy", signal.SIGINT),
        pytest.param("numpy", signal.SIGTERM, marks=pytest.mark.full),
        pytest.param("pipeline.execution.run", signal.SIGINT, marks=pytest.mark.full),
        ("pipeline.execution.run", signal.SIGTERM),
        ("zarr", signal.SIGINT),
        pytest.param("zarr", signal.SIGTERM, marks=pytest.mark.full),
        pytest.param("ray", signal.SIGINT, marks=[pytest.mark.ray, pytest.mark.full]),
        pytest.param("ray", signal.SIGTERM, marks=pytest.mark.ray),
    ],
)
def test_stops_while_modules_load(module: str, how: signal.Signals, out: Path) -> None:
    """Only the message is printed, in the first second of a build as well as at its end."""
    job = (*SMALL, "--workers", 1 if module == "ray" else 0)
    with Build(*job, out=out, prelude=_AT_IMPORT.format(module=module, number=int(how))) as build:
        ended = build.end()
    assert (ended.status, ended.out, ended.err) == (1, "", STOPPED)


@pytest.mark.ray
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", [2, *(pytest.param(n, marks=pytest.mark.full) for n in range(3, 10))])
def test_stops_while_ray_starts(processes: int, how: signal.Signals, out: Path) -> None:
    """``processes``: the number of processes (driver, Ray's servers, workers) when the signal comes."""
    with Build(*JOB, "--workers", 2, out=out) as build:
        build.wait_for(lambda: len(build.processes()) >= processes, pause=0.01)
        stop(build, how, starting=True)


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", WORKERS)
def test_stops_after_the_last_commit(workers: int, how: signal.Signals, out: Path) -> None:
    with Build(*JOB, "--workers", workers, out=out) as build:
        build.wait_for_commits(SHARDS)
        stop(build, how)
    completes(*JOB, "--workers", workers, out=out)


@pytest.mark.full
@pytest.mark.parametrize("pause", [0.02, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("workers", WORKERS)
def test_impatient_ctrl_c(workers: int, pause: float, out: Path) -> None:
    """Ctrl-C is pressed again while the build stops."""
    with Build(*JOB, "--workers", workers, out=out) as build:
        build.wait_for_commits(10)
        build.press_ctrl_c()
        time.sleep(pause)
        if build.processes():
            build.press_ctrl_c()
        must_stop(build)
