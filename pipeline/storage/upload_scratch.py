"""Files on their way to object storage: a folder of this process's own below ``TMPDIR``.

Whoever makes or sweeps such a folder holds ``guard``; its owner holds a kernel lock on ``NAME.lock`` for as long as it
lives. A folder whose lock can be had is a dead process's, also where processes cannot see each other.
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
    """A fresh path for a file of this run."""
    return _own() / f"{run}-{uuid.uuid4().hex}"


def clear() -> None:
    """Remove what dead processes left, and the files of this one."""
    with _guarded() as base:
        _sweep(base)
    for file in _own().iterdir():
        file.unlink(missing_ok=True)


@functools.cache
def _own() -> Path:
    with _guarded() as base:
        _sweep(base)  # on a node that only workers see, nobody else does
        folder = base / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        fcntl.flock(os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)  # until the process ends
        folder.mkdir()
    return folder


def _sweep(base: Path) -> None:
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
    base = Path(tempfile.gettempdir()) / f"rank-shards-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(base / "guard", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield base
    finally:
        os.close(descriptor)
