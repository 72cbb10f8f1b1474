"""A folder for the files of a local Ray: its logs and sockets. It is removed when the build ends."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.short_folder import short_folder

PREFIX = "rsr-"  # short, because the path of a socket has at most 107 bytes
_SOCKET = len("rsr-12345678/session_2026-12-31_23-59-59_123456_1234567/sockets/plasma_store.1")
_LOCK = "rank-shards.lock"  # in the folder; its owner holds a kernel lock on it for as long as it lives
_PATIENCE = 5.0  # seconds, for Ray's processes to write their last lines


@contextlib.contextmanager
def ray_folder() -> Iterator[Path]:
    """Makes a folder, and removes it with its content. Folders of builds that were killed are removed, too.

    Raises:
        PipelineError: there is no place for it.
    """
    base = short_folder(_SOCKET, "RAY_TMPDIR")
    _remove_dead(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    unlocked = folder / f"{_LOCK}.new"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unlocked.rename(folder / _LOCK)  # so that no other build finds it without its lock
        yield folder
    finally:
        _remove(folder)
        os.close(descriptor)


def _remove_dead(base: Path) -> None:
    """Removes the folders of dead builds of this user: those whose lock nobody holds."""
    for lock in base.glob(f"{PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # another user's, or removed meanwhile
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == lock.parent.lstat().st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(lock.parent)
            finally:
                os.close(descriptor)


def _remove(folder: Path) -> None:
    """Removes a folder, again while processes that are ending still write into it."""
    deadline = time.monotonic() + _PATIENCE
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
