"""Mutants of the program whose faults only a crash shows. The crash tests must detect them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.planning import manifest
from pipeline.planning.record import RECORDS
from pipeline.storage import files
from pipeline.storage.local_store import LocalStore


def _unsynced_files() -> None:
    _sync_only(Path.is_dir)


def _unsynced_folders() -> None:
    _sync_only(Path.is_file)


def _sync_only(which: Callable[[Path], bool]) -> None:
    real = files.sync
    files.sync = lambda path: real(path) if which(path) else None


def _record_first() -> None:
    """Publishes a record before the files that it names."""
    real, waiting = LocalStore.publish, dict[str, Path]()

    def publish(self: LocalStore, scratch: Mapping[str, Path], run: str) -> None:
        if any(name.endswith(".tar") for name in scratch):
            waiting.update(scratch)
            return
        real(self, scratch, run)
        if waiting and next(iter(scratch)).startswith(RECORDS):
            real(self, waiting, run)
            waiting.clear()

    LocalStore.publish = publish  # type: ignore[method-assign]


def _manifest_stays() -> None:
    """Leaves the manifest in place while the files that it lists are replaced."""
    real = LocalStore.delete

    def delete(self: LocalStore, name: str) -> None:
        if name != manifest.NAME:
            real(self, name)

    LocalStore.delete = delete  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "files are not synced": _unsynced_files,
    "folders are not synced": _unsynced_folders,
    "a record before its files": _record_first,
    "the manifest is not removed first": _manifest_stays,
}
