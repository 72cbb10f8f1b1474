"""Where an output lies, and what can be done there. ``LocalStore`` is the only place that knows rename and fsync.

A file is written as scratch with the run's name in its own, and becomes visible, whole, by ``publish``. Names are
relative to the output's root, with ``/``.
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from pipeline.errors import PipelineError
from pipeline.location import Location
from pipeline.lock import BuildLock, publishing

BUILD = ".build"
_SCRATCH = f"{BUILD}/tmp"
_SYNCS = 16  # at once


class FileProof(NamedTuple):
    """One published file: name relative to the output's root, bytes, SHA-256."""

    name: str
    size: int
    sha256: str


class Reading(Protocol):
    """What can be asked of a store, or of a snapshot of it."""

    def read(self, name: str) -> bytes | None: ...
    def names(self, folder: str) -> list[str]: ...
    def size(self, name: str) -> int | None: ...
    def sha256(self, name: str) -> str: ...


class Store(Reading, Protocol):
    """What ``LocalStore`` and ``ObjectStore`` have in common; both are small and can be pickled.

    Attributes:
        traces: what a run leaves in ``.build`` before anything else.
    """

    traces: ClassVar[frozenset[str]]

    @property
    def location(self) -> Location: ...
    def check(self) -> None: ...
    def make_root(self) -> None: ...
    def lock(self, run: str) -> AbstractContextManager[object]: ...
    def scratch(self, run: str) -> Path: ...
    def publish(self, files: Mapping[str, Path], run: str) -> None: ...
    def put(self, name: str, data: bytes, run: str) -> None: ...
    def put_all(self, contents: Mapping[str, bytes], run: str) -> None: ...
    def snapshot(self) -> Reading: ...
    def free(self) -> int | None: ...
    def make_folders(self, names: Sequence[str]) -> None: ...
    def delete(self, name: str) -> None: ...
    def clear_scratch(self) -> None: ...
    def append(self, name: str, line: bytes) -> None: ...


def open_store(location: Location) -> Store:
    """The store of an output."""
    if isinstance(location, Path):
        return LocalStore(location)
    from pipeline.object_store import ObjectStore

    return ObjectStore(location)


@dataclass(frozen=True)
class LocalStore:
    """An output on a local or shared file system."""

    root: Path
    traces: ClassVar[frozenset[str]] = frozenset({"driver", "writers", "job.json"})

    @property
    def location(self) -> Location:
        """What ``open_store`` makes this store of."""
        return self.root

    def check(self) -> None:
        """Raises PipelineError where there is something else than a folder."""
        if self.root.exists() and not self.root.is_dir():
            raise PipelineError(f"--out {self.root} is a file; name a folder")

    def make_root(self) -> None:
        """Make the folder in which the lock lies, for good: what is synced below is lost with the name of its folder."""
        above = next(folder for folder in self.root.absolute().parents if folder.exists())
        (self.root / BUILD).mkdir(parents=True, exist_ok=True)
        for folder in _between(above, self.root.absolute()):
            with contextlib.suppress(PermissionError):  # a folder of others, which was there before
                _sync(folder)

    def lock(self, run: str) -> AbstractContextManager[object]:
        """The output's ownership by this run, for as long as the block lasts. Raises PipelineError: another owns it."""
        return BuildLock(self.root / BUILD, run)

    def scratch(self, run: str) -> Path:
        """A fresh path for a file of this run, on the output's file system."""
        return self.root / _SCRATCH / f"{run}-{uuid.uuid4().hex}"

    def publish(self, files: Mapping[str, Path], run: str) -> None:
        """Make finished scratch files visible under their names: fsync, rename, fsync of their directories.

        Raises:
            LostLock: the run does not own the output any more; nothing has been renamed.
            OSError: as the file system says.
        """
        with ThreadPoolExecutor(_SYNCS) as pool:  # together: a journal commits once for many
            list(pool.map(_sync, files.values()))
        with publishing(self.root / BUILD, run):
            for name, path in files.items():
                path.replace(self.root / name)
            for directory in {(self.root / name).parent for name in files}:
                _sync(directory)

    def put(self, name: str, data: bytes, run: str) -> None:
        """Write and publish a small file."""
        self.put_all({name: data}, run)

    def put_all(self, contents: Mapping[str, bytes], run: str) -> None:
        """Write and publish small files together."""
        files = {name: self.scratch(run) for name in contents}
        try:
            for name, path in files.items():
                path.write_bytes(contents[name])
            self.publish(files, run)
        finally:
            for path in files.values():
                path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None where there is none."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder of the output, sorted; none where there is no such folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, name: str) -> int | None:
        """Bytes of a regular file, or None where there is none."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str:
        with (self.root / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def snapshot(self) -> Reading:
        """The store as it is now, for questions after thousands of files: here, nothing is cheaper than the store."""
        return self

    def free(self) -> int | None:
        """Bytes that are free there, or None where nobody knows."""
        place = self.root.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def make_folders(self, names: Sequence[str]) -> None:
        for name in [_SCRATCH, *names]:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for directory in {folder for name in [_SCRATCH, *names] for folder in _between(self.root, self.root / name)}:
            _sync(directory)

    def delete(self, name: str) -> None:
        """Remove a file or a whole folder; its absence is no error."""
        path = self.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync(path.parent)

    def clear_scratch(self) -> None:
        """Remove what dead runs left behind. A worker that still writes there finds out when it publishes."""
        with contextlib.suppress(FileNotFoundError):
            for path in (self.root / _SCRATCH).iterdir():
                path.unlink(missing_ok=True)

    def append(self, name: str, line: bytes) -> None:
        """Add a line to a log of the output. Logs are no part of what is promised."""
        with (self.root / name).open("ab") as file:
            file.write(line)


def _between(above: Path, path: Path) -> list[Path]:
    """The folders above ``path``, up to ``above``: those in which a new folder's name, and its parents', stand."""
    return [folder for folder in path.parents if folder.is_relative_to(above)]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
