"""A file read once, piece by piece, and hashed on the way: what is proven of it is proven of the bytes that were hashed."""

import hashlib
import os
from pathlib import Path

import numpy as np

from pipeline.storage.files import open_regular

_PIECE = 1 << 20  # bytes


class HashedStream:
    """The bytes of a file that have been read and not yet used.

    Attributes:
        size: of the file when it was opened, bytes; no more are read.
        buffer: uint8; ``buffer[at:end]`` is what there is. The caller moves ``at``.
        offset: of ``buffer[0]`` in the file.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file, self._digest = open_regular(path, links=False), hashlib.sha256()
        self.size = self._left = os.fstat(self._file.fileno()).st_size
        self.buffer = np.empty(2 * _PIECE, np.uint8)
        self.at = self.end = self.offset = 0

    def more(self) -> bool:
        """Read another piece, moving what is left to the front; False at the end of the file. Raises OSError."""
        left = self.buffer[self.at : self.end]
        if len(left) + _PIECE > len(self.buffer):
            self.buffer = np.empty(2 * len(self.buffer), np.uint8)
        self.buffer[: len(left)] = left
        self.offset += self.at
        self.at, self.end = 0, len(left)
        count = self._file.readinto(self.buffer.data[self.end : self.end + min(_PIECE, self._left)]) or 0
        self._left -= count
        self._digest.update(self.buffer.data[self.end : self.end + count])
        self.end += count
        return count > 0

    def digest(self) -> str:
        """SHA-256 of what has been read, hexadecimal."""
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
