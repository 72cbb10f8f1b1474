"""The place of an image in a Parquet file as one number, and the bytes at a place.

A place of 0 or more is the offset of an uncompressed image in the file. For a negative place, ``-1 - place`` holds the
offset of a compressed page and the position of the image in the decompressed page. The last few decompressed pages are kept
in memory, so that images in the order of the file decompress each page once.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.parquet.footer import opened
from pipeline.sources.parquet.pages import LARGEST_COMPRESSED, Damaged, NotInstalled, Page, page_at, unpacked
from pipeline.sources.ranges import read_range

_SHIFT = 29  # bits of a position in a page
_LARGEST_FILE = 1 << (63 - _SHIFT)  # bytes; 16 GiB
_KEPT = 1 << 26  # bytes of pages in memory; at least one is kept
_HEADER = 1 << 9  # bytes, more than the header of most pages
Version = tuple[str, int, int, int]  # of a file: its path, inode, size and time of change
assert LARGEST_COMPRESSED <= 1 << _SHIFT


def offsets(page: Page, positions: np.ndarray, compressed: bool, path: str) -> np.ndarray:
    """Returns the places of values, int64 (n,).

    Args:
        positions: of the values in the page after decompression, int64 (n,).
        compressed: whether the page is compressed in the file.

    Raises:
        Damaged: the file is too large for its images to have places.
    """
    if not compressed:
        return page.body + positions
    if page.offset >= _LARGEST_FILE:
        raise Damaged(f"it has compressed images beyond {_LARGEST_FILE:,} bytes: write it again as several files")
    return -1 - ((page.offset << _SHIFT) + positions)


def read_image(path: str, place: int, size: int, most: int | None = None) -> bytes:
    """Returns the bytes of an image, or the first ``most`` of them.

    Raises:
        OSError: the file cannot be read, or is not the one that was indexed.
    """
    wanted = size if most is None else min(most, size)
    if place >= 0:
        raw = read_range(path, place - 4, 4 + wanted)
    else:
        offset, position = divmod(-1 - place, 1 << _SHIFT)
        page = _PAGES.get(path, offset)
        raw = page[position - 4 : position + wanted]
    if int.from_bytes(raw[:4], "little") != size or len(raw) != 4 + wanted:
        raise _changed(path)
    return raw[4:]


def _changed(path: str) -> OSError:
    return OSError(f"{path} has changed since it was indexed")


def _version(path: str) -> Version:
    status = os.stat(path)
    return path, status.st_ino, status.st_size, status.st_mtime_ns


class _Pages:
    """The last decompressed pages of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[tuple[Version, int], bytes] = OrderedDict()
        self._size = 0

    def get(self, path: str, offset: int) -> bytes:
        """Returns the decompressed page whose header is at ``offset``. Raises OSError."""
        version = _version(path)
        key = version, offset
        with self._lock:  # also during the decompression: a page can be large, and threads often need the same one
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
            raw = _decompressed(version, offset, self._make_room)
            self._pages[key] = raw
            self._size += len(raw)
            return raw

    def _make_room(self, size: int) -> None:
        """Forgets the pages that were not used for the longest time, until a page of ``size`` bytes has room."""
        while self._pages and self._size + size > _KEPT:
            self._size -= len(self._pages.popitem(last=False)[1])


_PAGES = _Pages()


def _decompressed(version: Version, offset: int, make_room: Callable[[int], None]) -> bytes:
    path = version[0]

    def read(start: int, size: int) -> bytes:
        return read_range(path, start, min(size, end - start))

    try:
        starts, ends, codecs = _chunks(version)
        chunk = int(np.searchsorted(starts, offset, "right")) - 1
        if chunk < 0 or offset >= ends[chunk]:
            raise _changed(path)
        end = int(ends[chunk])
        page = page_at(read, offset, end)
        make_room(page.size)
        return unpacked(page, read_range(path, page.body, page.stored), codecs[chunk])
    except NotInstalled as error:
        raise OSError(f"{path}: {error}") from None
    except (Damaged, PipelineError):
        _chunks.cache_clear()  # the next try must not use the footer of a file that was replaced
        raise _changed(path) from None


@lru_cache(maxsize=64)
def _chunks(version: Version) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns the column chunks of a file in its order: where they start and end, int64 (n,), and their codecs."""
    with opened(Path(version[0])) as footer:
        chunks = sorted(
            (chunk.start, chunk.end, chunk.codec)
            for group in footer.groups
            for column in footer.columns
            if not column.repeated
            for chunk in (footer.chunk(group, column),)
        )
    starts, ends, codecs = zip(*chunks, strict=True)
    return np.array(starts, np.int64), np.array(ends, np.int64), list(codecs)
