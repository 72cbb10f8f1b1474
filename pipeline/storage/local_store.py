"""An output on a local or shared file system. Everything that is published in it is renamed and synced here."""

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
from typing import ClassVar

from pipeline.errors import PipelineError
from pipeline.storage import files
from pipeline.storage.file_claims import FileClaims
from pipeline.storage.lock import BuildLock, publishing
from pipeline.storage.store import BUILD, SCRATCH, Reading

_SYNC_THREADS = 16


@dataclass(frozen=True)
class LocalStore:
    """The store of an output in a folder."""

    root: Path
    traces: ClassVar[frozenset[str]] = frozenset({"driver", "writers", "job.json"})

    @property
    def location(self) -> Path:
        return self.root

    @property
    def _claims(self) -> FileClaims:
        return FileClaims(self.root / BUILD)

    def check(self) -> None:
        """Raises PipelineError if the root exists and is not a folder."""
        if self.root.exists() and not self.root.is_dir():
            raise PipelineError(f"--out {self.root} is a file; name a folder")
        if self.root.is_symlink() and not self.root.exists():
            raise PipelineError(
                f"--out {self.root} is a link to {self.root.readlink()}, which does not exist; make that folder"
            )

    def check_inside(self) -> None:
        """Raises PipelineError if the output holds a link, a pipe or a device, at any depth. None is ever followed."""
        files.check_output_folder(self.root)

    def make_root(self) -> None:
        """Makes the folder that holds the lock. Its name is synced too: without it, what is synced below is lost."""
        above = next(folder for folder in self.root.absolute().parents if folder.exists())
        self._make(BUILD)
        for folder in _between(above, self.root.absolute()):
            with contextlib.suppress(OSError):  # another user's folder, or another kind of file system
                files.sync(folder)

    def lock(self, run: str) -> AbstractContextManager[object]:
        return BuildLock(self._claims, run)

    def scratch(self, run: str) -> Path:
        """Returns an unused path on the output's file system; ``files.create`` makes the file."""
        return self.root / SCRATCH / f"{run}-{uuid.uuid4().hex}"

    def publish(self, scratch: Mapping[str, Path], run: str) -> None:
        """Makes finished scratch files visible under their names: fsync, rename, fsync of their directories.

        Raises:
            LostLock: the run does not own the output any more. Nothing was renamed.
            OSError: from the file system.
        """
        with ThreadPoolExecutor(_SYNC_THREADS) as pool:  # together: a journal commits once for many
            list(pool.map(files.sync, scratch.values()))
        with publishing(self._claims, run):
            for name in scratch:
                files.check_output_file(self.root / name)
            for name, path in scratch.items():
                with files.placing(self.root / name):
                    path.replace(self.root / name)
            for directory in {(self.root / name).parent for name in scratch}:
                files.sync(directory)

    def put(self, name: str, data: bytes, run: str) -> None:
        self.put_all({name: data}, run)

    def put_all(self, contents: Mapping[str, bytes], run: str) -> None:
        scratch = {name: self.scratch(run) for name in contents}
        try:
            for name, path in scratch.items():
                files.write(path, contents[name])
            self.publish(scratch, run)
        finally:
            for path in scratch.values():
                path.unlink(missing_ok=True)

    def read(self, name: str, most: int = files.MAX_SIZE) -> bytes | None:
        try:
            return files.read_output_file(self.root / name, most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, name: str) -> int | None:
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str:
        with open(self.root / name, "rb", opener=files.open_output_file) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def snapshot(self) -> Reading:
        """Returns the store itself: no listing of a file system is cheaper than its answers."""
        return self

    def free(self) -> int:
        place = self.root.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def make_folders(self, names: Sequence[str]) -> None:
        for name in [SCRATCH, *names]:
            self._make(name)
        for directory in {folder for name in [SCRATCH, *names] for folder in _between(self.root, self.root / name)}:
            files.sync(directory)

    def delete(self, name: str) -> None:
        path = self.root / name
        _remove(path)
        if path.parent.is_dir():
            files.sync(path.parent)

    def clear_scratch(self) -> None:
        folder = self.root / SCRATCH
        if folder.is_symlink():
            files.check_output_file(folder)
        for name in self.names(SCRATCH):
            _remove(folder / name)

    def append(self, name: str, line: bytes) -> None:
        with open(self.root / name, "ab", opener=files.open_output_file) as file:
            file.write(line)

    def _make(self, name: str) -> None:
        """Makes a folder of the output, and those above it."""
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            for folder in (*reversed(_between(self.root, path)), path):
                if os.path.lexists(folder) and not folder.is_dir():
                    raise PipelineError(
                        f"{folder} is a file where a folder belongs; move it away and run the same command again"
                    ) from None
            raise
        except OSError as error:
            with files.placing(Path(error.filename or path)):
                raise


def _remove(path: Path) -> None:
    """Removes a file, or a folder with its content; of a link, the link alone."""
    with files.placing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _between(above: Path, path: Path) -> list[Path]:
    """Returns the folders above ``path``, up to ``above``: the directories in which new folders have their names."""
    return [folder for folder in path.parents if folder.is_relative_to(above)]
