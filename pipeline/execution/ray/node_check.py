"""What every node of a cluster must have in common with the driver; asked on the node, told in a few words.

Imports nothing but the standard library until the versions have been compared, so that a bare node can answer, too.
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

from pipeline.errors import PipelineError
from pipeline.storage import files
from pipeline.storage.file_claims import MAX_CLAIM

# What an output's bytes come from, and what this package cannot do without.
LIBRARIES = ("numpy", "pillow", "zlib-ng", "deflate", "zarr", "numcodecs")
_PATIENCE = 5.0  # seconds: a network file system shows a new file late


@dataclass(frozen=True)
class Expected:
    """What the driver has.

    Attributes:
        versions: of Python and the libraries, by name.
        code: digest of this package's files.
        lock: the output's lock file, which must be the same file on every node; None for object storage.
        run: the run that the lock file names.
        read: pickled (source, entry): an image that every node must be able to read; empty for none.
    """

    versions: tuple[tuple[str, str], ...]
    code: str
    lock: Path | None
    run: str
    read: bytes = b""


class Answer(NamedTuple):
    """A node's: its name, what differs (empty for nothing), and its clock, seconds since 1970."""

    host: str
    differs: str
    clock: float


def versions() -> tuple[tuple[str, str], ...]:
    """Python's minor version and the libraries', ``none`` for one that is not there."""
    python = ".".join(platform.python_version_tuple()[:2])
    return (("Python", python), *((name, _version(name)) for name in LIBRARIES))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@functools.cache
def code() -> str:
    """SHA-256 over this package's Python files: names and contents."""
    folder, digest = Path(__file__).parents[2], hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def ask(expected: Expected) -> Answer:
    """Runs on the node: everything that can be known there before work starts."""
    clock = time.time()
    return Answer(
        socket.gethostname(), differences(expected) or _cannot_write(expected) or _cannot_read(expected), clock
    )


@functools.cache
def differences(expected: Expected) -> str:
    """What differs here in versions, code or output folder; empty for nothing. Asked once a process."""
    mine = dict(versions())
    skew = [
        f"{name} {mine[name]} (the driver has {wanted})" for name, wanted in expected.versions if mine[name] != wanted
    ]
    if skew:
        return f"has {', '.join(skew)}; install the same versions on every node (constraints.txt)"
    if code() != expected.code:
        return "has another version of this program than the driver; bring every node up to date"
    return _other_output(expected)


def _other_output(expected: Expected) -> str:
    if expected.lock is None:
        return ""
    deadline = time.monotonic() + _PATIENCE
    while _run(expected.lock) != expected.run:
        if time.monotonic() > deadline:
            output = expected.lock.parent.parent
            return f"does not see the output in {output}; --out must be a folder that every node shares"
        time.sleep(0.25)
    return ""


def _run(lock: Path) -> object:
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
    except Exception as error:  # whatever it is, the data cannot be had here
        return f"cannot read the data: {getattr(error, 'strerror', None) or error}: {getattr(error, 'filename', '')}"
    return ""
