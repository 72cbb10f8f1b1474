"""Folders on disk, listed quickly, completely, and in bytewise order; no file is opened."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError

Identity = tuple[int, int]  # device and inode: the same for every path that leads to a folder


class Folders(NamedTuple):
    """What lies directly in a folder: names of folders (bytewise sorted), how many files beside them, and how many
    things with a leading dot, which are left out."""

    names: list[str]
    files: int
    hidden: int = 0


class Files(NamedTuple):
    """What lies in a folder and below: (relative path, bytes) of every file, sorted bytewise by path, and how many hidden
    things and how many pipes, sockets and devices are left out."""

    files: list[tuple[str, int]]
    hidden: int
    special: int


def list_folders(folder: str) -> Folders:
    """The folders in ``folder``; hidden ones (leading dot) are left out. Raises PipelineError."""
    names, files = [], 0
    shown, hidden = _scan(folder)
    for item in shown:
        if stat.S_ISDIR(_status(item).st_mode):
            names.append(item.name)
        else:
            files += 1
    return Folders(sorted(names, key=os.fsencode), files, hidden)


def list_files(folder: str) -> Files:
    """Every regular file in ``folder`` and below.

    Hidden files and folders (leading dot) are left out. Symbolic links are followed; a folder that can be reached in
    several ways is listed once, under the first, and one that ``folder`` lies in is not: links in a circle end, and
    a link upwards does not bring in the other classes.

    Raises:
        PipelineError: a folder cannot be listed, or a link leads nowhere: an image must not get lost in silence.
    """
    files: list[tuple[str, int]] = []
    hidden = special = 0
    seen = {_identity(path) for path in (folder, *map(str, Path(folder).parents))}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        below = []
        shown, unseen = _scan(os.path.join(folder, prefix))
        hidden += unseen
        for item in shown:
            status = _status(item)
            if stat.S_ISREG(status.st_mode):
                files.append((prefix + item.name, status.st_size))
            elif stat.S_ISDIR(status.st_mode):
                below.append((os.fsencode(item.name), prefix + item.name + "/", (status.st_dev, status.st_ino)))
            else:
                special += 1
        for _, path, identity in sorted(below):
            if identity not in seen:
                seen.add(identity)
                waiting.append(path)
    return Files(sorted(files, key=lambda file: os.fsencode(file[0])), hidden, special)


def _scan(folder: str) -> tuple[list[os.DirEntry[str]], int]:
    """What lies in a folder, and how many hidden things beside it."""
    try:
        with os.scandir(folder) as items:
            every = list(items)
            shown = [item for item in every if not item.name.startswith(".")]
            return shown, len(every) - len(shown)
    except OSError as error:
        raise PipelineError(f"{folder} cannot be listed: {error.strerror}") from None


def _status(item: os.DirEntry[str]) -> os.stat_result:
    try:
        return item.stat()
    except OSError as error:
        link = ", it is a symbolic link that leads nowhere" if item.is_symlink() else ""
        raise PipelineError(f"{item.path} cannot be read: {error.strerror}{link}") from None


def _identity(folder: str) -> Identity:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise PipelineError(f"{folder} cannot be read: {error.strerror}") from None
    return status.st_dev, status.st_ino
