"""An output in object storage.

A file is built in this machine's scratch and becomes an object by one completed upload. There are no folders to make and
nothing to sync; what a crash leaves behind is local scratch, and uploads that were never completed.
"""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pipeline.errors import PipelineError
from pipeline.storage import upload_scratch
from pipeline.storage.bucket import Bucket
from pipeline.storage.files import MOST
from pipeline.storage.object_lock import ObjectLock, check_owner

_FILES_AT_ONCE = 4  # uploads: with parts of 8 MB, four each, at most 128 MB of memory
_READS_AT_ONCE = 32


@dataclass(frozen=True)
class ObjectStore:
    """The same interface as ``LocalStore``; errors are OSError, as there.

    Attributes:
        url: such as ``s3://bucket/prefix``.
    """

    url: str
    traces: ClassVar[frozenset[str]] = frozenset({"job.json", "lock"})

    @property
    def location(self) -> str:
        """What ``open_store`` makes this store of."""
        return self.url

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.url)

    def check(self) -> None:
        """Ask once, impatiently: is the bucket there, does it answer, may we list it?

        Raises:
            PipelineError: no; or s3fs or gcsfs is not installed.
        """
        try:
            replace(self._bucket, patient=False).names("")
        except OSError as error:
            raise PipelineError(f"--out {self.url}: {error.strerror or error}") from None

    def check_inside(self) -> None:
        """Nothing: objects are neither links nor pipes."""

    def make_root(self) -> None:
        """Nothing: prefixes need not be made."""

    def lock(self, run: str) -> AbstractContextManager[object]:
        return ObjectLock(self._bucket, run)

    def scratch(self, run: str) -> Path:
        """A fresh path for a file of this run, on this machine."""
        return upload_scratch.path(run)

    def publish(self, files: Mapping[str, Path], run: str) -> None:
        """Upload finished scratch files, each at once or not at all.

        Raises:
            LostLock: the run does not own the output any more; nothing has been uploaded.
            OSError: as the server says, after some patience.
        """
        check_owner(self._bucket, run)
        _together(_FILES_AT_ONCE, lambda file: self._bucket.upload(file[1], file[0]), files.items())

    def put(self, name: str, data: bytes, run: str) -> None:
        """Publish a small file."""
        self.put_all({name: data}, run)

    def put_all(self, contents: Mapping[str, bytes], run: str) -> None:
        """Publish small files together."""
        check_owner(self._bucket, run)
        _together(_FILES_AT_ONCE, lambda file: self._bucket.write(file[0], file[1]), contents.items())

    def read(self, name: str, most: int = MOST) -> bytes | None:
        """The file's bytes, or None where there is none. Raises ValueError where there are more than ``most``."""
        try:
            content = self._bucket.read(name)
        except FileNotFoundError:
            return None
        if len(content) > most:
            raise _too_large(name, most)
        return content

    def names(self, folder: str) -> list[str]:
        """Names in a folder of the output, sorted; none where there is no such folder."""
        return self._bucket.names(folder)

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        return self._bucket.sizes(name).get(name)

    def sha256(self, name: str) -> str:
        return self._bucket.sha256(name)

    def snapshot(self) -> "Snapshot":
        """The store as it is now, for questions after thousands of files."""
        return Snapshot(self, self._bucket.sizes())

    def free(self) -> int | None:
        """None: there is no end to it."""
        return None

    def make_folders(self, names: Sequence[str]) -> None:
        """Nothing: prefixes need not be made."""

    def delete(self, name: str) -> None:
        """Remove a file or a whole folder; its absence is no error."""
        found = self._bucket.sizes(name)
        if not found:
            return
        self._bucket.delete([*found])
        left = self._bucket.sizes(name)
        if left:  # the server has named what it did not delete, but s3fs does not listen
            raise PermissionError(errno.EACCES, "no permission to delete", f"{self.url}/{next(iter(left))}")

    def clear_scratch(self) -> None:
        """Remove what dead runs left behind: files on this machine, and uploads that were never completed."""
        upload_scratch.clear()
        self._bucket.abort_uploads()

    def append(self, name: str, line: bytes) -> None:
        """Add a line to a log of the output. Logs are no part of what is promised."""
        self._bucket.write(name, (self.read(name) or b"") + line)


@dataclass(frozen=True)
class Snapshot:
    """Sizes from one listing of the whole output; small files read many at a time.

    Attributes:
        sizes: bytes of every file, by name.
    """

    store: ObjectStore
    sizes: Mapping[str, int]
    _read: dict[str, bytes | None] = field(default_factory=dict)

    def read(self, name: str, most: int = MOST) -> bytes | None:
        """The file's bytes, or None where there is none. Its whole folder is read with it, so ask for small files.

        Raises:
            ValueError: there are more than ``most``.
        """
        if name not in self.sizes:
            return None
        if self.sizes[name] > most:
            raise _too_large(name, most)
        if name not in self._read:
            beside = [other for other in self.sizes if other.rpartition("/")[0] == name.rpartition("/")[0]]
            folder = [other for other in beside if self.sizes[other] <= most]
            self._read.update(zip(folder, _together(_READS_AT_ONCE, self.store.read, folder), strict=True))
        return self._read[name]

    def names(self, folder: str) -> list[str]:
        """Names in a folder of the output, sorted."""
        start = f"{folder}/" if folder else ""
        inside = (name.removeprefix(start) for name in self.sizes if name.startswith(start))
        return sorted({name.partition("/")[0] for name in inside})

    def size(self, name: str) -> int | None:
        return self.sizes.get(name)

    def sha256(self, name: str) -> str:
        return self.store.sha256(name)


def _too_large(name: str, most: int) -> ValueError:
    return ValueError(f"{name} has more than {most:,} bytes")


def _together(count: int, do: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Run on threads; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(do, items))
