"""An output in object storage.

A file is built in this machine's scratch folder and becomes an object by one completed upload. There are no folders to make
and nothing to sync. A crash leaves local scratch files and unfinished uploads.
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
from pipeline.storage.files import MAX_SIZE
from pipeline.storage.lock import BuildLock, publishing
from pipeline.storage.object_claims import ObjectClaims

_UPLOAD_THREADS = 4  # with four parts of 8 MB each, at most 128 MB of memory
_READ_THREADS = 32


@dataclass(frozen=True)
class ObjectStore:
    """The store of an output under a URL such as ``s3://bucket/prefix``."""

    url: str
    traces: ClassVar[frozenset[str]] = frozenset({"job.json", "lock"})

    @property
    def location(self) -> str:
        return self.url

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.url)

    @property
    def _claims(self) -> ObjectClaims:
        return ObjectClaims(self._bucket)

    def check(self) -> None:
        """Asks once, with few retries, whether the bucket exists, answers, and may be listed.

        Raises:
            PipelineError: it does not; or s3fs or gcsfs is not installed.
        """
        try:
            replace(self._bucket, patient=False).names("")
        except OSError as error:
            raise PipelineError(f"--out {self.url}: {error.strerror or error}") from None

    def check_inside(self) -> None:
        """Does nothing: objects are neither links nor pipes."""

    def make_root(self) -> None:
        """Does nothing: prefixes need not be made."""

    def lock(self, run: str) -> AbstractContextManager[object]:
        return BuildLock(self._claims, run)

    def scratch(self, run: str) -> Path:
        return upload_scratch.path(run)

    def publish(self, scratch: Mapping[str, Path], run: str) -> None:
        """Uploads finished scratch files, each whole or not at all.

        Raises:
            LostLock: the run does not own the output any more. Nothing was uploaded.
            OSError: from the server, after retries.
        """
        with publishing(self._claims, run):
            _on_threads(_UPLOAD_THREADS, lambda item: self._bucket.upload(item[1], item[0]), scratch.items())

    def put(self, name: str, data: bytes, run: str) -> None:
        self.put_all({name: data}, run)

    def put_all(self, contents: Mapping[str, bytes], run: str) -> None:
        with publishing(self._claims, run):
            _on_threads(_UPLOAD_THREADS, lambda item: self._bucket.write(item[0], item[1]), contents.items())

    def read(self, name: str, most: int = MAX_SIZE) -> bytes | None:
        try:
            content = self._bucket.read(name)
        except FileNotFoundError:
            return None
        if len(content) > most:
            raise _too_large(name, most)
        return content

    def names(self, folder: str) -> list[str]:
        return self._bucket.names(folder)

    def size(self, name: str) -> int | None:
        return self._bucket.sizes(name).get(name)

    def sha256(self, name: str) -> str:
        return self._bucket.sha256(name)

    def snapshot(self) -> "Snapshot":
        """Returns the present state from one listing of the whole output."""
        return Snapshot(self, self._bucket.sizes())

    def free(self) -> None:
        """Returns None: a bucket has no limit."""

    def make_folders(self, names: Sequence[str]) -> None:
        """Does nothing: prefixes need not be made."""

    def delete(self, name: str) -> None:
        """Removes an object, or a prefix with its objects. Raises PermissionError if the server kept any of them."""
        names = list(self._bucket.sizes(name))
        if not names:
            return
        self._bucket.delete(names)
        remaining = self._bucket.sizes(name)
        if remaining:  # the server's answer lists them, but s3fs ignores that
            raise PermissionError(errno.EACCES, "no permission to delete", f"{self.url}/{next(iter(remaining))}")

    def clear_scratch(self) -> None:
        """Removes what dead runs left: files on this machine, and unfinished uploads."""
        upload_scratch.clear()
        self._bucket.abort_uploads()

    def append(self, name: str, line: bytes) -> None:
        self._bucket.write(name, (self.read(name) or b"") + line)


@dataclass(frozen=True)
class Snapshot:
    """The state of an object store at one moment. Small files are read many at a time.

    Attributes:
        sizes: bytes of every file, by name.
    """

    store: ObjectStore
    sizes: Mapping[str, int]
    _contents: dict[str, bytes | None] = field(default_factory=dict)

    def read(self, name: str, most: int = MAX_SIZE) -> bytes | None:
        """Returns the file's bytes, or None if there is no such file. Reads the whole folder with it: for small files.

        Raises:
            ValueError: the file has more than ``most`` bytes.
        """
        if name not in self.sizes:
            return None
        if self.sizes[name] > most:
            raise _too_large(name, most)
        if name not in self._contents:
            folder = name.rpartition("/")[0]
            names = [other for other, size in self.sizes.items() if other.rpartition("/")[0] == folder and size <= most]
            self._contents.update(zip(names, _on_threads(_READ_THREADS, self.store.read, names), strict=True))
        return self._contents[name]

    def names(self, folder: str) -> list[str]:
        start = f"{folder}/" if folder else ""
        inside = (name.removeprefix(start) for name in self.sizes if name.startswith(start))
        return sorted({name.partition("/")[0] for name in inside})

    def size(self, name: str) -> int | None:
        return self.sizes.get(name)

    def sha256(self, name: str) -> str:
        return self.store.sha256(name)


def _too_large(name: str, most: int) -> ValueError:
    return ValueError(f"{name} has more than {most:,} bytes")


def _on_threads(count: int, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Returns the function's results. Its first failure is raised when all calls have ended."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))
