"""Lists plain tar archives fast: one read for each header, from several threads, and one check of all headers."""

import os
import threading
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np

from pipeline.sources.tars.members import BLOCK, Member, Read, check_end

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux only; without it every header is read as if it were not cached


class Headers:
    """Reads headers for several threads that scan parts of one archive.

    On a cold disk or a network file system each header is a wait, so threads wait side by side. A header in the page cache
    takes a microsecond, but much longer where threads hand Python's global lock to each other for it. So a thread keeps its
    turn until a header is not in the page cache.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def turn(self) -> AbstractContextManager[object]:
        """Returns the turn, which a thread has while it scans."""
        return self._lock

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Returns bytes of a file as ``os.pread`` does. The caller has the turn."""
        buffer = bytearray(size)
        try:
            if os.preadv(descriptor, [buffer], offset, _NO_WAIT) == size:
                return bytes(buffer)
        except (OSError, AttributeError):  # not in the page cache, or a system that cannot say
            pass
        self._lock.release()
        try:
            return os.pread(descriptor, size, offset)
        finally:
            self._lock.acquire()


class PlainMembers(NamedTuple):
    """The members of an archive that are all ordinary files with short names.

    Attributes:
        names: S100 (n,).
        offsets, sizes: int64 (n,), bytes.
    """

    names: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray


def plain_members(descriptor: int, archive: str, start: int, size: int, read: Read) -> PlainMembers | None:
    """Lists an archive as ``scan`` does, three times as fast. Returns None where only ``scan`` can say what it holds.

    The loop follows the sizes; then NumPy checks all headers at once.

    Args: as for ``scan``.
    """
    position, end, blocks, offsets = start, start + size, bytearray(), []
    try:
        while True:
            block = read(descriptor, BLOCK, position)
            if len(block) < BLOCK:
                return None
            if not block[0]:
                break
            position += BLOCK
            offsets.append(position)
            blocks += block
            position += -(-int(block[124:135], 8) // BLOCK) * BLOCK
            if not offsets[-1] <= position <= end - BLOCK:
                return None
    except ValueError:  # not eleven digits
        return None
    if not offsets:
        return None
    headers = np.frombuffer(blocks, np.uint8).reshape(-1, BLOCK)
    digits = headers[:, 124:135] - np.uint8(ord("0"))
    sums = headers.sum(axis=1, dtype=np.int64) - headers[:, 148:156].sum(axis=1, dtype=np.int64) + 8 * ord(" ")
    checksums = headers[:, 148:154] - np.uint8(ord("0"))
    names = headers[:, :100].copy().view("S100")[:, 0]
    lengths = np.char.str_len(names)
    plain = (
        not any(block)
        and (digits < 8).all()
        and np.isin(headers[:, 135], (0, ord(" "))).all()
        and (checksums < 8).all()
        and np.isin(headers[:, 154:156], (0, ord(" "))).all()
        and (_octal(checksums) == sums).all()
        and (headers[:, 156] == ord("0")).all()
        and (headers[:, 345] == 0).all()  # no prefix of the name
        and ((headers[:, :100] != 0).sum(axis=1) == lengths).all()  # zeros only after the name
    )
    if not plain:
        return None
    sizes = _octal(digits)
    check_end(descriptor, archive, position, start, end, Member("", offsets[-1], int(sizes[-1])))
    return PlainMembers(names, np.array(offsets, np.int64), sizes)


def _octal(digits: np.ndarray) -> np.ndarray:
    """Returns int64 (n,): the numbers of uint8 (n, digits)."""
    values: np.ndarray = digits @ (8 ** np.arange(digits.shape[1] - 1, -1, -1, dtype=np.int64))
    return values
