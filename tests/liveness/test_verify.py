"""Promises of ``verify`` and ``repair``: a process that stands still is named; none is left behind; none complains."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import build
from pipeline.verification import listings, verify_output
from pipeline.verification.workers.stall_watch import Alarm, StallWatch
from pipeline.verify import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that its shards take a while to verify."""
    out = tmp_path_factory.mktemp("proof") / "out"
    given = ["--ranks", "3,5,8", "--components", "low,high,full", "--exact", "--samples-per-shard", "100"]
    assert build.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    shutil.rmtree(out / ".build")
    return out


@pytest.fixture
def verify(out: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the command, in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pipeline.verify", out, "--workers", 2, *arguments]
        given, pipes = list(map(str, command)), {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process: subprocess.Popen[str] = subprocess.Popen(given, cwd=ROOT, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield start
    for process in started:
        for one in session(process.pid):
            os.kill(one, signal.SIGKILL)
        process.communicate()


def session(leader: int) -> list[int]:
    """All processes of a session that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of, *_ = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(of) == leader and state != "Z":
            found.append(int(path.name))
    return found


def workers(leader: int) -> list[int]:
    """Processes that the server of forks has started, which are its children."""
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in session(leader)}
    return [pid for pid, parent in parents.items() if parent not in (leader, os.getpid())]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_worker_that_is_stopped_is_named_with_its_part(verify: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = verify("--stall", 1, "--sample", 0)
    wait_for(lambda: len(workers(process.pid)) == 2)
    assert process.stderr is not None
    time.sleep(0.7)  # both are in the midst of a part
    stopped = workers(process.pid)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    lines = iter(process.stderr.readline, "")
    line = next(line for line in lines if f"(process {stopped[0]})" in line or f"(process {stopped[1]})" in line)
    assert line.startswith("still in work: ")
    assert "shard " in line or "files more" in line
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert process.wait(120) == 0


def test_nothing_is_left_behind_by_a_command_that_is_killed(verify: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = verify()
    wait_for(lambda: len(workers(process.pid)) == 2)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=30)  # nobody holds its stdout and stderr any more
    assert out == "" and "Traceback" not in err  # Python's tracker says that it cleans up
    wait_for(lambda: not session(process.pid))


@pytest.mark.parametrize("after", [0.0, 0.3, 0.5, 0.7, 0.9])
def test_a_command_that_is_ended_while_its_workers_start_says_one_line(
    after: float, verify: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = verify()
    wait_for(lambda: len(session(process.pid)) >= 3)  # itself, the server of forks, the tracker
    time.sleep(after)
    process.terminate()
    out, err = process.communicate(timeout=60)
    # CPython ends by SIGINT where an exception came into code that it was just executing from text, as imports do.
    assert process.returncode in (1, -signal.SIGINT) and out == ""
    assert err.startswith("stopped; ") and err.count("\n") == 1


def test_lists_that_take_long_are_reported(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = listings.read_listings

    def slow(*arguments: object) -> object:
        time.sleep(1.5)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(verify_output, "read_listings", slow)
    assert main([str(out), "--workers", "1", "--sample", "0", "--stall", "1"]) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told == f"still reading the manifest and the lists of {out}, for 1 s so far"


def test_parts_are_reported_at_growing_intervals_and_when_they_continue() -> None:
    messages: list[str] = []
    watch = StallWatch(
        Alarm(120, lambda event, message, **_: messages.append(message)), ["shard train-000000", "README.md"]
    )
    watch._idle_since = 0.0  # the clock of the test
    spoken = []
    for second in range(0, 1000, 5):
        if second >= 300:
            watch.begun(0, 7, 300, second if second < 500 else 500)
        before = len(messages)
        watch.look(second)
        spoken += [second] * (len(messages) - before)
    assert spoken == [120, 240, 420, 540, 780]
    assert messages[0] == "no process has begun any of 2 parts for 2 min 00 s"
    assert messages[2] == "still in work: shard train-000000 for 2 min 00 s (process 7)"
    assert "(process 7, which sends no messages any more" in messages[3]
    watch.ended(0)
    assert messages[-1] == "continues: shard train-000000"
