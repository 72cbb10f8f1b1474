"""Reads whole small files, and ranges of large files. The last few large files stay open, which saves time."""

import os
from functools import lru_cache

from pipeline.storage.files import regular_descriptor


class _Descriptor:
    """An open file. It closes with its last user, so the cache may drop it while another thread reads."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = regular_descriptor(path)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


@lru_cache(maxsize=16)
def _descriptor(path: str) -> _Descriptor:
    # A forked child may use its parent's descriptors: pread does not share a position.
    return _Descriptor(path)


def read_range(path: str, offset: int, size: int) -> bytes:
    """Returns ``size`` bytes from ``offset``. Raises OSError, also if the file ends earlier."""
    try:
        file = _descriptor(path)
        raw = os.pread(file.number, size, offset)
        while len(raw) < size:
            more = os.pread(file.number, size - len(raw), offset + len(raw))
            if not more:
                raise OSError(f"{path} is shorter than when it was indexed")
            raw += more
    except OSError:
        _descriptor.cache_clear()  # the next try must not use a stale handle (NFS, a replaced file)
        raise
    return raw


def read_file(path: str, size: int, most: int | None = None) -> bytes:
    """Returns a file, or its first ``most`` bytes. Raises OSError, also if a whole file no longer has ``size`` bytes."""
    with open(regular_descriptor(path), "rb", buffering=0) as file:
        if most is not None:
            return file.read(most) or b""
        raw = file.readall()
    if len(raw) != size:
        raise OSError(f"{path} has {len(raw)} bytes, it had {size} when it was indexed")
    return raw
