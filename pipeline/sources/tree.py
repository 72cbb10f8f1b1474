"""Lists folders on disk quickly, completely and in bytewise order, without opening a file."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError, one_line
from pipeline.storage.system_files import is_system_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

Identity = tuple[int, int]  # device and inode: the same for every path that leads to a folder


class Folders(NamedTuple):
    """The direct content of a folder.

    Attributes:
        names: of its folders, bytewise sorted.
        files: how many files it holds.
        hidden: how many files and folders with a leading dot are left out.
        system: names of left-out files and folders of operating systems and the like, see ``is_system_file``.
    """

    names: list[str]
    files: int
    hidden: int = 0
    system: tuple[str, ...] = ()


class Files(NamedTuple):
    """The files in a folder and below.

    Attributes:
        files: (relative path, bytes) of every regular file, bytewise sorted by path.
        hidden: how many files and folders with a leading dot are left out.
        special: how many pipes, sockets and devices are left out.
        system: names of left-out files and folders of operating systems and the like, see ``is_system_file``.
    """

    files: list[tuple[str, int]]
    hidden: int
    special: int
    system: tuple[str, ...] = ()


class _Content(NamedTuple):
    items: list[os.DirEntry[str]]
    hidden: int
    system: list[str]


def list_names(folder: Path) -> list[str]:
    """Returns the names of all that is directly in a folder, bytewise sorted. Raises PipelineError if that is impossible."""
    try:
        return sorted(os.listdir(folder), key=os.fsencode)
    except OSError as error:
        raise PipelineError(f"{folder} cannot be listed: {error.strerror}") from None


def images_beside(names: Iterable[str], what: str) -> list[str]:
    """Returns a line for the image files in a folder from which other files are read; none if there are no such files.

    Args:
        names: of all that is in the folder.
        what: the files that are read.
    """
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]
    return [f"image files beside the {what}, left out: {len(images):,} ({one_line(images[0])}, ...)"] if images else []


def folders_beside(names: Iterable[str], what: str) -> list[str]:
    """Returns a line for the folders beside the files that are read, which hold ``what`` as well; none without names."""
    listed = ", ".join(names)
    return [f"folders with {what} beside them, left out: {listed}"] if listed else []


def list_folders(folder: str) -> Folders:
    """Lists the folders directly in ``folder``. Raises PipelineError if that is impossible."""
    names, files = [], 0
    content = _scan(folder)
    for item in content.items:
        if stat.S_ISDIR(_status(item).st_mode):
            names.append(item.name)
        else:
            files += 1
    return Folders(sorted(names, key=os.fsencode), files, content.hidden, tuple(content.system))


def list_files(folder: str) -> Files:
    """Lists every regular file in ``folder`` and below.

    Symbolic links are followed. A folder that several paths lead to is listed once, under the first of them. The folders
    that ``folder`` is in are not listed. So circles of links end, and a link upwards does not bring in other classes.

    Raises:
        PipelineError: a folder cannot be listed, or a link leads nowhere: an image must not be lost silently.
    """
    files: list[tuple[str, int]] = []
    system: list[str] = []
    hidden = special = 0
    seen = {_identity(path) for path in (folder, *map(str, Path(folder).parents))}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        below = []
        content = _scan(os.path.join(folder, prefix))
        hidden += content.hidden
        system += content.system
        for item in content.items:
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
    return Files(sorted(files, key=lambda file: os.fsencode(file[0])), hidden, special, tuple(sorted(system)))


def has_images(folder: str) -> bool:
    """Returns whether files that are named like images are directly in ``folder``. Raises PipelineError."""
    return any(item.name.lower().endswith(IMAGE_SUFFIXES) for item in _scan(folder).items)


def _scan(folder: str) -> _Content:
    try:
        with os.scandir(folder) as iterator:
            items = list(iterator)
    except OSError as error:
        raise PipelineError(f"{folder} cannot be listed: {error.strerror}") from None
    visible = [item for item in items if not item.name.startswith(".")]
    system = sorted(item.name for item in visible if is_system_file(item.name))
    if system:
        return _Content([item for item in visible if item.name not in system], len(items) - len(visible), system)
    return _Content(visible, len(items) - len(visible), [])


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
