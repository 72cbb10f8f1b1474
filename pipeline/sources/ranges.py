"""Bytes of files: whole small ones, and ranges of a few big ones, in microseconds, since descriptors stay open."""

import os
from functools import lru_cache

from pipeline.storage.files import regular_descriptor


class _Descriptor:
    """An open file that closes with its last user, so that the cache may drop it while another thread reads."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = regular_descriptor(path)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


@lru_cache(maxsize=16)
def _descriptor(path: str) -> _Descriptor:
    # A forked child may go on with its parent's descriptors: pread shares no position.
    return _Descriptor(path)


def read_range(path: str, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``. Raises OSError, also where the file ends before."""
    try:
        held = _descriptor(path)
        raw = os.pread(held.number, size, offset)
        while len(raw) < size:
            more = os.pread(held.number, size - len(raw), offset + len(raw))
            if not more:
                raise OSError(f"{path} is shorter than when it was indexed")
            raw += more
    except OSError:
        _descriptor.cache_clear()  # a stale handle (NFS, a replaced file) must not outlive a retry
        raise
    return raw


def read_file(path: str, size: int, most: int | None = None) -> bytes:
    """A whole file, or its first ``most`` bytes. Raises OSError, also where a whole one no longer has ``size`` bytes."""
    with open(regular_descriptor(path), "rb", buffering=0) as file:
        if most is not None:
            return file.read(most) or b""
        raw = file.readall()
    if len(raw) != size:
        raise OSError(f"{path} has {len(raw)} bytes, it had {size} when it was indexed")
    return raw
