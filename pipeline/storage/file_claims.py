"""Claims on a file system, local or shared by hosts: the back end of ``lock.py`` for ``LocalStore``.

Three files in ``.build``: ``lock`` holds the claim; ``driver`` is held by the owner with a kernel lock for as long as its
process lives; ``writers`` is held, shared, by each process that is publishing. A new run holds ``writers`` exclusively
while it replaces ``lock``: after that no worker of an older run, however late it wakes up, passes the check that every
publish begins with.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage import files
from pipeline.storage.lock import Claim, Taken

UNFINISHED = "lock-"  # prefix of a claim that is being written
MAX_CLAIM = 1 << 16  # bytes of a claim
_SILENT_BEATS = 3
_PATIENCE = 60.0  # seconds to wait for the publish of another process
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class FileClaims:
    """The claims on one output.

    Attributes:
        folder: the output's ``.build``.
    """

    folder: Path

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        with _opened(self.folder / "driver") as driver:
            if not _flock(driver, fcntl.LOCK_EX):
                raise Taken
            yield

    def last(self) -> Claim:
        try:
            return Claim.parse(files.read_output_file(self.folder / "lock", MAX_CLAIM))
        except (OSError, ValueError):
            return Claim()

    def silent_beats(self, claim: Claim) -> int:
        """The kernel lock on ``driver`` decides on one host. It may not reach other hosts: their heartbeat decides."""
        return 0 if claim.fields.get("host") == socket.gethostname() else _SILENT_BEATS

    def take_over(self, before: Claim, claim: Claim) -> Claim:
        with self._writers(fcntl.LOCK_EX):
            if self.last() != before:
                raise Taken
            for unfinished in self.folder.glob(f"{UNFINISHED}*"):  # of runs that were killed during a heartbeat
                unfinished.unlink(missing_ok=True)
            self.write(claim)
        return claim

    def write(self, claim: Claim) -> None:
        unfinished = self.folder / f"{UNFINISHED}{claim.fields['run']}"
        try:
            files.write(unfinished, claim.to_json())
            unfinished.replace(self.folder / "lock")
        finally:
            unfinished.unlink(missing_ok=True)

    def release(self, claim: Claim) -> None:
        (self.folder / "lock").unlink()

    def publishing(self) -> contextlib.AbstractContextManager[None]:
        return self._writers(fcntl.LOCK_SH)

    @contextlib.contextmanager
    def _writers(self, mode: int) -> Iterator[None]:
        with _opened(self.folder / "writers") as writers:
            deadline = time.monotonic() + _PATIENCE
            while not _flock(writers, mode):
                if time.monotonic() > deadline:
                    raise PipelineError(
                        f"a worker of an earlier run has been publishing for {_PATIENCE:.0f} s; end it and try again"
                    )
                time.sleep(0.02)
            yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = files.open_output_file(path, os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _flock(descriptor: int, mode: int) -> bool:
    """Returns whether the lock is held. Also true on a file system without locks: heartbeats alone decide there."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True
