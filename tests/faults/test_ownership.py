"""Promise: one run owns an output. A run that lost it publishes nothing, and a dead run does not block it."""

import fcntl
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.storage import lock
from pipeline.storage.file_claims import FileClaims
from pipeline.storage.local_store import LocalStore
from pipeline.storage.lock import BuildLock, LostLock
from pipeline.storage.store import BUILD
from tests.conftest import stamps
from tests.faults.builds import (
    JOB,
    SHARDS,
    SMALL,
    Build,
    assert_undisturbed,
    committed,
    completes,
    hashes,
    one_line,
    orphaned,
    run,
    scratch,
)
from tests.faults.processes import open_files

pytestmark = pytest.mark.fault

LARGE = ("--dataset", "sample", "--ranks", "3,5,10,20", "--samples-per-shard", "1646")
FAST = "import pipeline.storage.lock as lock\nlock.HEARTBEAT = 0.3"


def writes_scratch(out: Path) -> Callable[[int], bool]:
    """Returns whether a process has a scratch file of the output open."""
    return lambda pid: any(target.startswith(f"{out}/{BUILD}/tmp/") for target in open_files(pid))


@pytest.mark.ray
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.full)])
def test_orphaned_worker_publishes_nothing(workers: int, out: Path) -> None:
    """The driver is killed, the next run finishes the output, and only then the worker wakes up."""
    with orphaned(lambda: Build(*LARGE, "--workers", 2, out=out), writes_scratch(out)) as (build, orphan):
        completes(*LARGE, "--workers", workers, out=out)
        before = hashes(out), stamps(out)
        build.wake(orphan)
    assert (hashes(out), stamps(out)) == before
    assert scratch(out) == []


def test_run_that_lost_the_output_renames_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.make_folders(["folder"])
    with store.lock("old"):
        store.put("folder/file", b"old", "old")
    with store.lock("new"):
        late = store.scratch("old")
        late.write_bytes(b"late")
        with pytest.raises(LostLock):
            store.publish({"folder/file": late, "folder/other": late}, "old")
        with pytest.raises(LostLock):
            store.put("folder/file", b"late", "old")
        assert store.read("folder/file") == b"old"
        assert store.read("folder/other") is None
        store.put("folder/file", b"new", "new")
    with pytest.raises(LostLock):  # a released output does not belong to its last owner
        store.put("folder/file", b"late", "new")


def test_second_run_is_refused(out: Path) -> None:
    with Build(*JOB, "--workers", 0, out=out) as first:
        first.wait_for_commits(1)
        first.send(signal.SIGSTOP)  # so that it cannot end before the second run begins
        assert committed(out) < SHARDS
        second = run(*JOB, "--workers", 0, out=out)
        first.send(signal.SIGCONT)
        assert first.end()[:3] == (0, "", "")
        expected = f"another run is building this output (process {first.pid} on {socket.gethostname()}"
        assert one_line(second).startswith(expected)
    assert_undisturbed(*JOB, out=out)


def test_stale_lock_is_taken_over_at_once(out: Path) -> None:
    with Build(*JOB, "--workers", 0, out=out) as build:
        build.wait_for_commits(50)
        build.send(signal.SIGKILL)
        build.end()
    assert (out / BUILD / "lock").exists()
    patient = FAST.replace("0.3", "1000")  # a run that waits for this heartbeat would never end
    with Build(*JOB, "--workers", 0, out=out, prelude=patient) as build:
        assert build.end().status == 0
    assert_undisturbed(*JOB, out=out)


def foreign(folder: Path, beats: int) -> None:
    """Writes the lock of a run on another host, with a heartbeat."""
    owner = {"run": "theirs", "host": "another.example", "pid": 4242, "beats": beats}
    fresh = folder / "theirs"
    fresh.write_text(json.dumps(owner))
    fresh.replace(folder / "lock")


def left_by_another_host(out: Path) -> None:
    """A build that has just begun on another host. Kernel locks on its two files are not visible here."""
    (out / BUILD).mkdir(parents=True)
    (out / BUILD / "driver").touch()
    (out / BUILD / "writers").touch()


def owner(folder: Path) -> Any:
    return json.loads((folder / "lock").read_text())


class Heart:
    """Writes the heartbeat of a run on another host while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stop = folder, threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> None:
        foreign(self._folder, 1)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        beats = 1
        while not self._stop.wait(0.1):
            beats += 1
            foreign(self._folder, beats)


def test_living_run_on_another_host_is_respected(out: Path) -> None:
    left_by_another_host(out)
    with Heart(out / BUILD):
        refused = run(*SMALL, "--workers", 0, out=out, prelude=FAST)
        assert one_line(refused).startswith("another run is building this output (process 4242 on another.example); ")
        assert owner(out / BUILD)["run"] == "theirs"
    assert sorted(path.name for path in out.iterdir()) == [BUILD]
    assert committed(out) == 0


def test_dead_run_of_another_host_is_replaced_after_a_wait(out: Path) -> None:
    left_by_another_host(out)
    foreign(out / BUILD, 7)
    with Build(*SMALL, "--workers", 0, out=out, prelude=FAST) as build:
        build.wait_for_commits(1)
        assert owner(out / BUILD)["run"] != "theirs"
        assert build.end()[:3] == (0, "", "")
    assert_undisturbed(*SMALL, out=out)


def test_heartbeat_does_not_take_a_lost_output_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was frozen for longer than others wait (a suspended machine, a hanging mount) has lost its output."""
    monkeypatch.setattr(lock, "HEARTBEAT", 0.05)
    with BuildLock(FileClaims(tmp_path), "frozen"):
        foreign(tmp_path, 1)
        time.sleep(0.3)
        assert owner(tmp_path)["run"] == "theirs"
        with pytest.raises(LostLock), lock.publishing(FileClaims(tmp_path), "frozen"):
            pass
    assert owner(tmp_path)["run"] == "theirs"


def test_two_runs_on_other_hosts_that_find_one_dead_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs wait for the heartbeat of the dead run. One takes over, and the other must notice that."""
    monkeypatch.setattr(lock, "HEARTBEAT", 0.3)
    foreign(tmp_path, 7)

    def takes_over() -> None:
        time.sleep(0.2)
        (tmp_path / "lock").write_text(json.dumps({"run": "quick", "host": "third.example", "pid": 1, "beats": 7}))

    thread = threading.Thread(target=takes_over)
    thread.start()
    with (
        pytest.raises(PipelineError, match=r"process 1 on third\.example"),
        BuildLock(FileClaims(tmp_path), "slow"),
    ):
        pass
    thread.join()


def test_new_run_waits_for_a_publish_that_is_going_on(out: Path) -> None:
    """A task that publishes holds ``writers``. A new run takes the output over between two publish steps, not during one."""
    (out / BUILD).mkdir(parents=True)
    with (out / BUILD / "writers").open("w") as writers:
        fcntl.flock(writers, fcntl.LOCK_SH)
        with Build(*SMALL, "--workers", 0, out=out) as build:
            build.wait_for((out / BUILD / "driver").exists)
            time.sleep(1)
            assert not (out / BUILD / "lock").exists()
            fcntl.flock(writers, fcntl.LOCK_UN)
            assert build.end()[:3] == (0, "", "")
    assert_undisturbed(*SMALL, out=out)


def test_publish_that_never_ends_is_reported(out: Path) -> None:
    (out / BUILD).mkdir(parents=True)
    with (out / BUILD / "writers").open("w") as writers:
        fcntl.flock(writers, fcntl.LOCK_SH)
        refused = run(
            *SMALL,
            "--workers",
            0,
            out=out,
            prelude="import pipeline.storage.file_claims as claims\nclaims._PATIENCE = 0.5",
        )
    assert "publishing" in one_line(refused)
    assert scratch_free(out)
    completes(*SMALL, "--workers", 0, out=out)


def scratch_free(out: Path) -> bool:
    return sorted(path.name for path in (out / BUILD).iterdir()) == ["driver", "writers"]
