"""Opens regular files only, and reads no more bytes than the caller allows.

Sources and outputs may come from other people: a name may be a link, a pipe or a device, and a file may have any size.
Nothing here waits for a pipe or reads without a limit.

The first half raises ``OSError``, and readers choose their own words. The second half, ``*_output_file``, is for the
command that writes an output: it never follows a link, and its errors say what the user has to do.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.console import tell
from pipeline.errors import PipelineError, one_line
from pipeline.storage.system_files import is_system_file

# What fsync of a folder raises where folders cannot be synced. EBADF and EINVAL as in PostgreSQL. Never EIO or ENOSPC.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_said = False  # whether this process has said that folders are not synced

MAX_SIZE = 1 << 29  # bytes of a file that is read whole; the manifest of ImageNet with eight variants has 7 MB


class IsLink(OSError):
    """A symbolic link stands where a regular file should. Its target is not opened."""


class TooLong(OSError):
    """A file has more bytes than the caller allows."""


def regular_descriptor(path: str | os.PathLike[str], links: bool = True) -> int:
    """Opens a regular file for reading and returns its descriptor. Never waits, as opening a pipe would.

    Args:
        links: whether ``path`` itself may be a symbolic link.

    Raises:
        IsLink: ``path`` is a symbolic link and ``links`` is false.
        OSError: the file is missing, is not a regular file, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        number = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise IsLink(errno.ELOOP, "is a link", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket, or a device without hardware
            raise OSError(errno.ENXIO, "not a regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return number


def open_regular(path: str | Path, links: bool = True) -> io.FileIO:
    """Opens a regular file without a buffer. Raises OSError as ``regular_descriptor`` does."""
    return io.FileIO(regular_descriptor(path, links))


def read_regular(path: str | Path, most: int, links: bool = True) -> bytes:
    """Returns the content of a regular file.

    Raises:
        TooLong: the file has more than ``most`` bytes. It is not read.
        OSError: as ``regular_descriptor`` does.
    """
    with open_regular(path, links) as file:
        size = os.fstat(file.fileno()).st_size
        content = io.BufferedReader(Bounded(file, most)).read(min(size, most) + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise TooLong(errno.EFBIG, f"{max(size, len(content)):,} bytes are more than it can have", str(path))
    return content


class Bounded(io.RawIOBase):
    """The first ``most`` bytes of a file. Reading past them raises ``TooLong`` if the file continues."""

    def __init__(self, file: io.FileIO, most: int) -> None:
        self._file, self._most = file, most

    def readinto(self, buffer: Any) -> int | None:
        left = self._most - self._file.tell()
        if left > 0:
            return self._file.readinto(memoryview(buffer)[:left])
        if len(memoryview(buffer)) and self._file.read(1):
            self._file.seek(-1, os.SEEK_CUR)
            raise TooLong(errno.EFBIG, f"has more than {self._most:,} bytes", str(self._file.name))
        return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset, whence = offset + min(os.fstat(self.fileno()).st_size, self._most), os.SEEK_SET
        return self._file.seek(offset, whence)

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_output_file(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """Opens a regular file of an output and returns its descriptor. Also serves as the ``opener`` of ``open``.

    Raises:
        PipelineError: ``path`` is a link, a folder, a pipe or a device.
        OSError: from the file system.
    """
    try:
        number = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        check_output_file(Path(path))
        raise
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise _not_regular(Path(path), mode)
    return number


def read_output_file(path: Path, most: int = MAX_SIZE) -> bytes:
    """Returns the content of a file of an output.

    Raises:
        ValueError: the file has more than ``most`` bytes, so this program has not written it.
        PipelineError, OSError: as ``open_output_file`` does.
    """
    try:
        return read_regular(path, most, links=False)
    except TooLong:
        raise ValueError(f"{path} has more than {most:,} bytes") from None
    except OSError:
        check_output_file(path)
        raise


def create(path: Path, buffering: int = -1) -> BinaryIO:
    """Opens a new file for writing. Raises OSError that names the file's folder."""
    with naming(path.parent):
        return open(path, "xb", buffering)


def write(path: Path, content: bytes) -> None:
    """Writes a new file. Raises OSError as ``create`` does."""
    with create(path) as file:
        file.write(content)


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk. Raises OSError.

    Some file systems (CIFS, VirtualBox, some FUSE ones) cannot sync folders. There it syncs files alone, and says so once.
    """
    global _said
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
        if not _said:
            tell(
                f"{one_line(path)}: this file system cannot sync folders ({error.strerror}); after a power failure, "
                "finished files may be missing: run the same command again then"
            )
        _said = True
    finally:
        os.close(descriptor)


def check_output_file(path: Path) -> None:
    """Raises PipelineError if ``path`` exists and is not a regular file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise _not_regular(path, mode)


def check_output_folder(root: Path) -> None:
    """Raises PipelineError if a folder holds, at any depth, anything but folders and regular files.

    A volume's own folders, such as ``lost+found``, are not entered: users may not be allowed to list them.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if folder != root or not is_system_file(entry.name):
                        folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    check_output_file(Path(entry.path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an OSError of the block name ``path``: the name of a scratch file means nothing to the user."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


@contextlib.contextmanager
def placing(path: Path) -> Iterator[None]:
    """Makes an OSError of the block name ``path``, or its folder if the folder is not writable."""
    try:
        yield
    except OSError:
        with naming(path if os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True) else path.parent):
            raise


def _not_regular(path: Path, mode: int) -> PipelineError:
    if stat.S_ISLNK(mode):
        return PipelineError(
            f"{path} is a symbolic link; only the output's own folder may be a link. Delete the link, or replace it with "
            "the file that it leads to"
        )
    kind = "a folder where a file belongs" if stat.S_ISDIR(mode) else "not a regular file"
    return PipelineError(f"{path} is {kind}; move it away and run the same command again")
