"""Scratch files for uploads to object storage, in a folder of this process below ``TMPDIR``.

A process holds ``guard`` while it makes or removes such a folder, and a kernel lock on ``NAME.lock`` for as long as it
lives. So a folder whose lock is free belongs to a dead process, even if processes cannot see each other (containers).
"""

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path


def path(run: str) -> Path:
    """Returns an unused path for a file of this run."""
    return _own() / f"{run}-{uuid.uuid4().hex}"


def clear() -> None:
    """Removes the folders of dead processes and the files of this one."""
    with _guarded() as base:
        _remove_dead(base)
    for file in _own().iterdir():
        file.unlink(missing_ok=True)


@functools.cache
def _own() -> Path:
    with _guarded() as base:
        _remove_dead(base)  # a node with workers alone never calls ``clear``
        folder = base / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        fcntl.flock(os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)  # until the process ends
        folder.mkdir()
    return folder


def _remove_dead(base: Path) -> None:
    for lock in base.glob("*.lock"):
        descriptor = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _guarded() -> Iterator[Path]:
    """Holds ``guard`` during the block and gives the folder of all processes of this user."""
    base = Path(tempfile.gettempdir()) / f"rank-shards-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(base / "guard", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield base
    finally:
        os.close(descriptor)
