"""Files that somebody else may have made, opened without waiting and read no further than they may go."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any


class IsLink(OSError):
    """A link lies where a file should; where it leads to is not looked at."""


class TooLong(OSError):
    """A file goes on where it should have ended."""


def descriptor(path: str | os.PathLike[str], links: bool = True) -> int:
    """A descriptor of a regular file, for reading; never waits, as opening a pipe would.

    Args:
        links: whether ``path`` itself may be a link.

    Raises:
        OSError: it is missing, no regular file, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        number = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise IsLink(errno.ELOOP, "is a link", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise OSError(errno.ENXIO, "not a regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return number


def open_regular(path: str | Path, links: bool = True) -> io.FileIO:
    """The same as a file without a buffer. Raises OSError as ``descriptor`` does."""
    return io.FileIO(descriptor(path, links))


def read_regular(path: str | Path, most: int, links: bool = True) -> bytes:
    """A whole file of at most so many bytes. Raises OSError, also where it is larger, and then without reading it."""
    with open_regular(path, links) as file:
        size = os.fstat(file.fileno()).st_size
        content = io.BufferedReader(Bounded(file, most)).read(min(size, most) + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise TooLong(errno.EFBIG, f"{max(size, len(content)):,} bytes are more than it can have", str(path))
    return content


class Bounded(io.RawIOBase):
    """The first ``most`` bytes of a file; where it goes on behind them, reading on raises ``TooLong``."""

    def __init__(self, file: io.FileIO, most: int) -> None:
        self._file, self._most = file, most

    def readinto(self, buffer: Any) -> int | None:
        left = self._most - self._file.tell()
        if left > 0:
            return self._file.readinto(memoryview(buffer)[:left])
        if len(memoryview(buffer)) and self._file.read(1):
            self._file.seek(-1, os.SEEK_CUR)
            raise TooLong(errno.EFBIG, f"goes on after {self._most:,} bytes", str(self._file.name))
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
