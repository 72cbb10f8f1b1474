"""A folder in memory for parsers that read files, deleted when the process ends, and a tiny output to damage."""

import atexit
import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from tests.memory import folder_in_memory

_ROOM = 2**26  # bytes


def _new_folder(parent: Path | None) -> Path:
    path = Path(tempfile.mkdtemp(prefix="rank-shards-fuzz-", dir=parent))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def folder() -> Path:
    return _new_folder(folder_in_memory(_ROOM))


@functools.cache
def _disk() -> Path:
    return _new_folder(None)


def cache() -> AbstractContextManager[object]:
    """Gives sources a cache on disk until the end of the block: in memory there is no room for what they unpack."""
    return mock.patch.dict(os.environ, XDG_CACHE_HOME=str(_disk()))


# The output has seven images in two shards, all components, exact, with factors. An eighth image is a reject.
OPTIONS = {
    "dataset": "folder",
    "data-dir": str(folder() / "pictures"),
    "out": str(folder() / "out"),
    "ranks": "1,2",
    "components": "low,high,full",
    "exact": True,
    "factors": "float32",
    "samples-per-shard": "4",
    "workers": "0",
    "max-rejects": "1",
    "quiet": True,
}


@functools.cache
def output() -> Path:
    """Returns the output's folder. The first call builds it."""
    from pipeline.execution.run import build
    from pipeline.planning.job import Job

    rng = np.random.default_rng(0)
    for number in range(8):
        path = folder() / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(path)
    path.write_bytes(b"no image")
    with contextlib.redirect_stderr(io.StringIO()):
        build(Job.parse(OPTIONS))
    return folder() / "out"


@contextlib.contextmanager
def replaced(name: str, data: bytes) -> Iterator[None]:
    """Replaces the content of a file of the output until the end of the block."""
    path = output() / name
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)
