"""Reading ranges of files, fast and without being fooled by a fork or a file that changed."""

import functools
import hashlib
import os
from pathlib import Path


def read_range(path: Path, offset: int, size: int) -> bytes:
    """``size`` bytes at ``offset``. Raises OSError, also where the file has become shorter."""
    data = os.pread(_descriptor(str(path), os.getpid()), size, offset)
    if len(data) != size:
        raise OSError(0, f"shorter than when it was listed ({offset + len(data)} bytes)", str(path))
    return data


@functools.lru_cache(maxsize=16)
def _descriptor(path: str, process: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
