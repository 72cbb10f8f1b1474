"""The interface to the files of an output, wherever they are stored.

A file is written as scratch with the run's name in its own name, and becomes visible, whole, by ``publish``. Names are
relative to the output's root, with ``/``.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from pipeline.storage.files import MAX_SIZE
from pipeline.storage.location import Location

BUILD = ".build"
SCRATCH = f"{BUILD}/tmp"  # holds files of the current run only


class PublishedFile(NamedTuple):
    """A published file: name relative to the output's root, bytes, SHA-256."""

    name: str
    size: int
    sha256: str


class Reading(Protocol):
    """What a store and a snapshot of it can both be asked."""

    def read(self, name: str, most: int = MAX_SIZE) -> bytes | None:
        """Returns the file's bytes, or None if there is no such file. Raises ValueError: more than ``most`` bytes."""

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder of the output; none if the folder does not exist."""

    def size(self, name: str) -> int | None:
        """Returns the bytes of a file, or None if there is no such file."""

    def sha256(self, name: str) -> str:
        """Returns the SHA-256 of a file, in hexadecimal digits."""


class Store(Reading, Protocol):
    """Reads and writes one output. Stores are small and can be pickled. Failures of the storage are OSError.

    Attributes:
        traces: names that every run leaves in ``.build``, whenever it is killed.
        location: what ``open_store`` makes this store from.
    """

    traces: ClassVar[frozenset[str]]

    @property
    def location(self) -> Location: ...

    def check(self) -> None:
        """Raises PipelineError if no output can be stored at the location."""

    def check_inside(self) -> None:
        """Raises PipelineError if the output holds a link, a pipe or a device, at any depth."""

    def make_root(self) -> None:
        """Makes the folder that holds the lock, durably."""

    def lock(self, run: str) -> AbstractContextManager[object]:
        """Returns the run's ownership of the output. Entering it raises PipelineError if another run owns the output."""

    def scratch(self, run: str) -> Path:
        """Returns an unused path for a file of this run, on this machine."""

    def publish(self, scratch: Mapping[str, Path], run: str) -> None:
        """Makes finished scratch files visible under their names, each whole.

        Raises:
            LostLock: the run does not own the output any more. Nothing was published.
            OSError: from the file system or the server.
        """

    def put(self, name: str, data: bytes, run: str) -> None:
        """Writes and publishes a small file."""

    def put_all(self, contents: Mapping[str, bytes], run: str) -> None:
        """Writes and publishes small files together."""

    def snapshot(self) -> Reading:
        """Returns the present state of the store, for questions about thousands of files."""

    def free(self) -> int | None:
        """Returns the free bytes of the storage, or None if it has no limit."""

    def make_folders(self, names: Sequence[str]) -> None:
        """Makes folders of the output, and those above them, durably."""

    def delete(self, name: str) -> None:
        """Removes a file or a folder with its content. A missing one is no error."""

    def clear_scratch(self) -> None:
        """Removes what dead runs left. A worker that still writes there fails when it publishes."""

    def append(self, name: str, line: bytes) -> None:
        """Adds a line to a log of the output. A log may lose lines in a crash."""


def open_store(location: Location) -> Store:
    """Returns the store of an output."""
    if isinstance(location, Path):
        from pipeline.storage.local_store import LocalStore

        return LocalStore(location)
    from pipeline.storage.object_store import ObjectStore

    return ObjectStore(location)
