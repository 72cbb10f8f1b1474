"""Promises: a local build leaves no file of Ray behind, also after an interruption, and removes nobody else's."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.execution.ray import temporary
from pipeline.execution.ray.temporary import ray_folder


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path for the files of Ray."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def leave(base: Path, name: str, lock: bool = True) -> Path:
    """Makes what a killed build leaves behind."""
    folder = base / name
    (folder / "session" / "logs").mkdir(parents=True)
    (folder / "session" / "logs" / "gcs_server.out").write_text("log")
    if lock:
        (folder / temporary._LOCK).touch()
    return folder


def test_a_folder_is_removed_at_the_end(base: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ray_folder() as folder:
        leave(folder, "inside", lock=False)
        assert folder.parent == base
        raise KeyboardInterrupt
    assert os.listdir(base) == []


def test_folders_of_dead_builds_are_removed_and_no_others(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, alive = leave(base, "rsr-dead"), leave(base, "rsr-alive")
    others = [leave(base, "rsr-without", lock=False), leave(base, "ray"), leave(base, "session_2026")]
    (base / "rsr-link").symlink_to(others[1])
    with (alive / temporary._LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ray_folder() as first, ray_folder() as second:  # two builds at once
            assert first.is_dir()
            assert second.is_dir()
            assert not dead.exists()
            assert all((other / "session/logs/gcs_server.out").is_file() for other in (alive, *others))
    monkeypatch.setattr(os, "getuid", lambda: 4711)  # the files are another user's
    with ray_folder():
        assert alive.exists()
    monkeypatch.undo()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lets commands receive Ctrl-C as in a terminal. Background commands of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.ray
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("end", [None, signal.SIGINT, signal.SIGKILL])
def test_a_build_leaves_nothing_in_the_temporary_folder(
    end: signal.Signals | None, base: Path, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """After SIGKILL, the next build removes what is left."""
    foreign = leave(base, "ray")
    command = [sys.executable, "-m", "pipeline.build", "--dataset", "folder", "--data-dir", str(pictures(each=40))]
    command += ["--ranks", "3", "--samples-per-shard", "2", "--workers", "2", "--out", str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(base), "RAY_TMPDIR": ""}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr
        if end:
            while not list(base.glob("rsr-*/session*/logs/*")):
                time.sleep(0.05)
                assert process.poll() is None
            process.send_signal(end)
        process.stderr.read()
    assert (process.returncode == 0) is (end is None)
    if end is signal.SIGKILL:
        assert list(base.glob("rsr-*"))
        time.sleep(3)  # Ray's processes notice the death of the driver
        subprocess.run(command, env=environment, capture_output=True, check=True)
    assert os.listdir(base) == ["ray"]
    assert (foreign / "session/logs/gcs_server.out").is_file()
