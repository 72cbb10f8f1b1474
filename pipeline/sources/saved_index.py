"""Saves the result of scanning archives in the cache folder, and reuses it until an archive changes."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.cache import cache_folder

FORMAT = 2  # increase it when scans give other results
Columns = dict[str, np.ndarray]


def saved(dataset: str, archives: Sequence[Path], settings: str, scan: Callable[[], Columns]) -> Columns:
    """Returns the result of ``scan``, from the cache if the same archives were scanned with the same settings.

    The key holds every archive's path, size, times of change and inode. If the file in the cache is damaged or has another
    key, the archives are scanned again. Without a home folder, or where it cannot be written, there is no cache.

    Args:
        dataset: the name of the cache folder.
        archives: absolute paths.
        settings: everything else that the columns depend on.
        scan: lists the archives.

    Raises:
        PipelineError: an archive cannot be read, or changes while it is scanned.
    """
    key = _key(archives, settings)
    path = _place(dataset, archives[0])
    columns = _load(path, key) if path else None
    if columns is None:
        try:
            columns = scan()
        except OSError as error:
            raise PipelineError(f"{error.filename or archives[0]} cannot be read: {error.strerror or error}") from None
        if _key(archives, settings) != key:
            raise PipelineError(f"{archives[0].parent}: an archive changes while it is read; wait until it is complete")
        if path:
            _save(path, key, columns)
    return columns


def _place(dataset: str, archive: Path) -> Path | None:
    """Returns the file in the cache. Without a home folder there is none, and every run scans."""
    try:
        folder = cache_folder(dataset)
    except PipelineError:
        return None
    return folder / f"{hashlib.sha256(str(archive).encode(errors='replace')).hexdigest()[:16]}.npz"


def pack(names: Sequence[str]) -> np.ndarray:
    """Returns texts without NUL as one uint8 column."""
    return np.frombuffer(os.fsencode("\0".join(names)), np.uint8)


def unpack(column: np.ndarray) -> list[str]:
    """Returns the texts of a column that ``pack`` made."""
    return os.fsdecode(column.tobytes()).split("\0") if len(column) else []


def _key(archives: Sequence[Path], settings: str) -> str:
    """Returns the SHA-256 of format, settings, and path, size, times of change and inode of every archive."""
    digest = hashlib.sha256(json.dumps([FORMAT, settings]).encode())
    for archive in archives:
        try:
            status = archive.stat()
        except OSError as error:
            raise PipelineError(f"{archive} cannot be read: {error.strerror}") from None
        version = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        digest.update(os.fsencode(archive) + "\0".join(map(str, ("", *version, ""))).encode())
    return digest.hexdigest()


def _load(path: Path, key: str) -> Columns | None:
    try:
        with np.load(path, allow_pickle=False) as file:  # checks every column's CRC-32
            if file["key"].tobytes().decode() == key:
                columns = {name: file[name] for name in file.files if name != "key"}
                return columns if all(isinstance(column, np.ndarray) for column in columns.values()) else None
    except Exception:  # no file, or a damaged one: zipfile and numpy raise errors of many types
        pass
    return None


def _save(path: Path, key: str, columns: Columns) -> None:
    """Writes the file completely or not at all. Another process may do the same at the same time."""
    fresh = path.with_name(f"{path.stem}.part-{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # with a full or read-only home, the next run scans again
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(fresh, "wb") as file:
                np.savez(file, allow_pickle=False, **{"key": np.frombuffer(key.encode(), np.uint8), **columns})
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
