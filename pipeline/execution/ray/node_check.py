"""Checks, on a node of a cluster, that it can build the same shards as the driver's machine.

This module imports only what a node without the right libraries can import, so that such a node can answer as well.
"""

import functools
import hashlib
import json
import os
import pickle
import platform
import socket
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pipeline
from pipeline.errors import PipelineError
from pipeline.storage import files
from pipeline.storage.file_claims import MAX_CLAIM

# The libraries that the bytes of an output depend on, and those that this package needs.
LIBRARIES = ("numpy", "pillow", "numba", "deflate", "zarr", "numcodecs")
_LOCK_TIMEOUT = 5.0  # seconds: a network file system shows a new file late


@dataclass(frozen=True)
class Expected:
    """What the driver has.

    Attributes:
        versions: of Python and the libraries, by name.
        code: the digest of this package's files.
        lock: the lock file of the output, which must be the same file on every node; None for object storage.
        run: the run that the lock file names.
        read: pickled (source, entry): an image that every node must be able to read; empty for none.
    """

    versions: tuple[tuple[str, str], ...]
    code: str
    lock: Path | None
    run: str
    read: bytes = b""


class Answer(NamedTuple):
    """The answer of a node: its host name, what differs (empty if nothing does), its clock in seconds since 1970."""

    host: str
    differs: str
    clock: float


def versions() -> tuple[tuple[str, str], ...]:
    """Returns the minor version of Python and the versions of the libraries, ``none`` for a missing one."""
    python = ".".join(platform.python_version_tuple()[:2])
    return (("Python", python), *((name, _version(name)) for name in LIBRARIES))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@functools.cache
def code() -> str:
    """Returns the SHA-256 of the names and contents of this package's Python files."""
    folder, digest = Path(pipeline.__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def check(expected: Expected) -> Answer:
    """Runs on the node: compares versions, code and output folder, writes to the output, reads an image."""
    clock = time.time()
    differs = differences(expected) or _cannot_write(expected) or _cannot_read(expected)
    return Answer(socket.gethostname(), differs, clock)


@functools.cache
def differences(expected: Expected) -> str:
    """Returns what differs here in versions, code or output folder, empty if nothing does. Runs once per process."""
    installed = dict(versions())
    others = [
        f"{name} {installed[name]} (the driver has {needed})"
        for name, needed in expected.versions
        if installed[name] != needed
    ]
    if others:
        return f"has {', '.join(others)}; install the same versions on every node (constraints.txt)"
    if code() != expected.code:
        return "has another version of this program than the driver; bring every node up to date"
    return _other_output(expected)


def _other_output(expected: Expected) -> str:
    if expected.lock is None:
        return ""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while _run(expected.lock) != expected.run:
        if time.monotonic() > deadline:
            output = expected.lock.parent.parent
            return f"does not see the output in {output}; --out must be a folder that every node shares"
        time.sleep(0.25)
    return ""


def _run(lock: Path) -> object:
    """Returns the run that a lock file names, or None."""
    try:
        os.listdir(lock.parent)  # makes NFS look again
        owner = json.loads(files.read_output_file(lock, MAX_CLAIM))
    except (OSError, ValueError, RecursionError, PipelineError):
        return None
    return owner.get("run") if isinstance(owner, dict) else None


def _cannot_write(expected: Expected) -> str:
    if expected.lock is None:
        return ""
    scratch = expected.lock.parent / "tmp" / f"{expected.run}-probe-{os.getpid()}-{socket.gethostname()}"
    try:
        files.write(scratch, b"")
        scratch.unlink()
    except OSError as error:
        return f"cannot write to the output: {scratch}: {error.strerror}"
    return ""


def _cannot_read(expected: Expected) -> str:
    if not expected.read:
        return ""
    try:
        source, entry = pickle.loads(expected.read)
        source.read(entry)
    except Exception as error:  # a source may fail in any way on a node that lacks its files
        return f"cannot read the data: {getattr(error, 'strerror', None) or error}: {getattr(error, 'filename', '')}"
    return ""
