"""Who owns an output: one run at a time, and no publishing by a run that lost it.

Three files in ``.build``: ``lock`` names the owner and carries its heartbeat; ``driver`` is held by the owner with a
kernel lock for as long as its process lives; ``writers`` is held, shared, by whoever is publishing at the moment. A new
run takes ``writers`` exclusively while it writes its name into ``lock``: after that no worker of an older run, however
late it wakes up, passes the check that every publish begins with.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.storage import files

HEARTBEAT = 5.0  # seconds
FRESH = "lock-"  # what a lock is called until it is whole
LARGEST = 1 << 16  # bytes of a lock
_PATIENCE = 60.0  # seconds to wait for a publish that is going on
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LostLock(Exception):
    """The run that wanted to publish does not own the output any more."""


class BuildLock:
    """The ownership of one output. Use as a context manager.

    Args:
        folder: the output's ``.build``.
        run: the identity of this run.

    Raises:
        PipelineError: another run owns it.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run, self._beats = folder, run, 0
        self._stop = threading.Event()

    def __enter__(self) -> "BuildLock":
        self._driver = files.open_regular(self._folder / "driver", os.O_RDWR | os.O_CREAT)
        if not _flock(self._driver, fcntl.LOCK_EX):
            os.close(self._driver)
            raise PipelineError(
                f"another run is building this output ({_describe(self._folder)}); wait for it or stop it"
            )
        try:
            before = self._wait_for_foreign_owner()
            with _writers(self._folder, fcntl.LOCK_EX):
                if _owner(self._folder) != before:  # on yet another host, somebody was quicker
                    raise PipelineError(f"another run is building this output ({_describe(self._folder)}); wait for it")
                for left in self._folder.glob(f"{FRESH}*"):  # by runs that were killed in the midst of a heartbeat
                    left.unlink(missing_ok=True)
                self._beat()
        except BaseException:
            os.close(self._driver)
            raise
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, PipelineError):
            if _owner(self._folder).get("run") == self._run:
                (self._folder / "lock").unlink()
        os.close(self._driver)

    def _wait_for_foreign_owner(self) -> dict[str, Any]:
        """On a file system shared by hosts, kernel locks may not reach the other one: watch its heartbeat instead.

        Returns:
            the owner that is to be replaced.
        """
        before = _owner(self._folder)
        if before and before.get("host") != socket.gethostname():
            time.sleep(3 * HEARTBEAT)
            if _owner(self._folder).get("beats") != before.get("beats"):
                raise PipelineError(
                    f"another run is building this output ({_describe(self._folder)}); wait for it or stop it"
                )
        return before

    def _beat(self) -> None:
        self._beats += 1
        owner = {"run": self._run, "host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        fresh = self._folder / f"{FRESH}{self._run}"
        try:
            files.write(fresh, json.dumps(owner).encode())
            fresh.replace(self._folder / "lock")
        finally:
            fresh.unlink(missing_ok=True)

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            # A full disk must not end the build from here; what another run has taken over is never taken back.
            with contextlib.suppress(OSError, LostLock, PipelineError), publishing(self._folder, self._run):
                self._beat()


@contextlib.contextmanager
def publishing(folder: Path, run: str) -> Iterator[None]:
    """Around every publish: no other run can take the output over meanwhile.

    Raises:
        LostLock: ``run`` does not own the output.
    """
    with _writers(folder, fcntl.LOCK_SH):
        if _owner(folder).get("run") != run:
            raise LostLock(f"run {run} does not own the output any more")
        yield


@contextlib.contextmanager
def _writers(folder: Path, how: int) -> Iterator[None]:
    descriptor = files.open_regular(folder / "writers", os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _flock(descriptor, how):
            if time.monotonic() > deadline:
                raise PipelineError("a worker of an earlier run has been publishing for a minute; end it and try again")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int, how: int) -> bool:
    """True when the lock is held, or the file system has none (then heartbeats alone decide)."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _owner(folder: Path) -> dict[str, Any]:
    try:
        owner = json.loads(files.read(folder / "lock", LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(folder: Path) -> str:
    owner = _owner(folder)
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
