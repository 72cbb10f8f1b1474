"""Files of an output, opened so that nothing else in their place is followed, waited for, or read without end.

An output that somebody else made may hold links that lead out of it, pipes, and files of any size. Only its own folder
may be a link.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import PipelineError

MOST = 1 << 29  # bytes of a file that is read whole; a manifest of ImageNet with eight variants has 7 MB
_CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_regular(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file, as ``os.open`` or the opener of ``open`` gives it.

    Raises:
        PipelineError: a link, a folder, a pipe or a device is in its place.
        OSError: as the file system says.
    """
    try:
        number = os.open(path, flags | _CAREFUL, 0o666)
    except OSError:
        check(Path(path))
        raise
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise _misplaced(Path(path), mode)
    return number


def read(path: Path, most: int = MOST) -> bytes:
    """A whole file.

    Raises:
        ValueError: it is larger than ``most`` bytes, and so nothing that this program has written.
        PipelineError, OSError: as ``open_regular`` does.
    """
    with open(path, "rb", opener=open_regular) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise ValueError(f"{path} has more than {most:,} bytes")
    return content


def create(path: Path, buffering: int = -1) -> BinaryIO:
    """A new file to write to. Raises OSError, of the folder in which it cannot be made."""
    with naming(path.parent):
        return open(path, "xb", buffering)


def write(path: Path, content: bytes) -> None:
    """Make a new file. Raises OSError as ``create`` does."""
    with create(path) as file:
        file.write(content)


def check(path: Path) -> None:
    """Raises PipelineError where there is something else than a regular file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise _misplaced(path, mode)


def check_below(root: Path) -> None:
    """Raises PipelineError where, at any depth, there is something else than folders and regular files."""
    folders = [root]
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    check(Path(entry.path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of what happens meanwhile are of ``path``: a scratch file's name says nothing to anybody."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


@contextlib.contextmanager
def placing(path: Path) -> Iterator[None]:
    """The same, or of its folder where that is what may not be written."""
    try:
        yield
    except OSError:
        with naming(path if os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True) else path.parent):
            raise


def _misplaced(path: Path, mode: int) -> PipelineError:
    if stat.S_ISLNK(mode):
        return PipelineError(
            f"{path} is a symbolic link, and nothing inside an output may be one; delete it, or put what it leads to in "
            "its place (the output's own folder may be a link)"
        )
    what = "a folder where a file belongs" if stat.S_ISDIR(mode) else "not a regular file"
    return PipelineError(f"{path} is {what}; move it away, and the same command goes on")
