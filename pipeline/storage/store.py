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
from pipeline.storage import files as regular
from pipeline.storage.location import Location
from pipeline.storage.lock import BuildLock, publishing

BUILD = ".build"
SCRATCH = f"{BUILD}/tmp"  # nothing in it outlives the run that has written it
_SYNCS = 16  # at once


class FileProof(NamedTuple):
    """One published file: name relative to the output's root, bytes, SHA-256."""

    name: str
    size: int
    sha256: str


class Reading(Protocol):
    """What can be asked of a store, or of a snapshot of it."""

    def read(self, name: str, most: int = regular.MOST) -> bytes | None: ...
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
    def check_inside(self) -> None: ...
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
    from pipeline.storage.object_store import ObjectStore

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
        if self.root.is_symlink() and not self.root.exists():
            raise PipelineError(
                f"--out {self.root} is a link to {self.root.readlink()}, where nothing is; make that folder"
            )

    def check_inside(self) -> None:
        """Raises PipelineError where a link, a pipe or a device lies anywhere in the output; none is ever followed."""
        regular.check_below(self.root)

    def make_root(self) -> None:
        """Make the folder in which the lock lies, for good: what is synced below is lost with the name of its folder."""
        above = next(folder for folder in self.root.absolute().parents if folder.exists())
        self._make(BUILD)
        for folder in _between(above, self.root.absolute()):
            with contextlib.suppress(OSError):  # a folder of others, or on another kind of file system
                _sync(folder)

    def lock(self, run: str) -> AbstractContextManager[object]:
        """The output's ownership by this run, for as long as the block lasts. Raises PipelineError: another owns it."""
        return BuildLock(self.root / BUILD, run)

    def scratch(self, run: str) -> Path:
        """A fresh path for a file of this run, to be made by ``regular.create``, on the output's file system."""
        return self.root / SCRATCH / f"{run}-{uuid.uuid4().hex}"

    def publish(self, files: Mapping[str, Path], run: str) -> None:
        """Make finished scratch files visible under their names: fsync, rename, fsync of their directories.

        Raises:
            LostLock: the run does not own the output any more; nothing has been renamed.
            OSError: as the file system says.
        """
        with ThreadPoolExecutor(_SYNCS) as pool:  # together: a journal commits once for many
            list(pool.map(_sync, files.values()))
        with publishing(self.root / BUILD, run):
            for name in files:
                regular.check(self.root / name)
            for name, path in files.items():
                with regular.placing(self.root / name):
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
                regular.write(path, contents[name])
            self.publish(files, run)
        finally:
            for path in files.values():
                path.unlink(missing_ok=True)

    def read(self, name: str, most: int = regular.MOST) -> bytes | None:
        """The file's bytes, or None where there is none. Raises ValueError where there are more than ``most``."""
        try:
            return regular.read(self.root / name, most)
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
        with open(self.root / name, "rb", opener=regular.open_regular) as file:
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
        for name in [SCRATCH, *names]:
            self._make(name)
        for directory in {folder for name in [SCRATCH, *names] for folder in _between(self.root, self.root / name)}:
            _sync(directory)

    def delete(self, name: str) -> None:
        """Remove a file or a whole folder; its absence is no error."""
        path = self.root / name
        _remove(path)
        if path.parent.is_dir():
            _sync(path.parent)

    def clear_scratch(self) -> None:
        """Remove what dead runs left behind. A worker that still writes there finds out when it publishes."""
        folder = self.root / SCRATCH
        if folder.is_symlink():
            regular.check(folder)
        for name in self.names(SCRATCH):
            _remove(folder / name)

    def append(self, name: str, line: bytes) -> None:
        """Add a line to a log of the output. Logs are no part of what is promised."""
        with open(self.root / name, "ab", opener=regular.open_regular) as file:
            file.write(line)

    def _make(self, name: str) -> None:
        """A folder of the output, and those above it."""
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            for folder in (*reversed(_between(self.root, path)), path):
                if os.path.lexists(folder) and not folder.is_dir():
                    raise PipelineError(
                        f"{folder} is a file where a folder belongs; move it away, and the same command goes on"
                    ) from None
            raise
        except OSError as error:
            with regular.placing(Path(error.filename or path)):
                raise


def _remove(path: Path) -> None:
    """A file, or a folder with all that it holds; a link, but not what it leads to."""
    with regular.placing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _between(above: Path, path: Path) -> list[Path]:
    """The folders above ``path``, up to ``above``: those in which a new folder's name, and its parents', stand."""
    return [folder for folder in path.parents if folder.is_relative_to(above)]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
