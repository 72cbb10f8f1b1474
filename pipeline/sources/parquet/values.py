"""Finds the values of a column of byte strings inside its pages, without a copy of them."""

import contextlib
import functools
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.sources.parquet.footer import Column, Footer
from pipeline.sources.parquet.pages import (
    DATA,
    DATA_2,
    INDICES,
    LARGEST_COMPRESSED,
    PLAIN,
    PLAIN_DICTIONARY,
    Damaged,
    Page,
    check_size,
    is_compressed,
    pages,
    unpacked,
)

_ENCODINGS = {4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
_LENGTH = struct.Struct("<I")
_WHOLE = 1 << 14  # bytes of a value: pages with smaller ones are read whole, of others only the lengths of the values
_LARGE = 1 << 24  # bytes of a page
_LARGE_PAGE = threading.Lock()

Bytes = Callable[[int, int], bytes]  # (position, size) in the content of a page; returns fewer bytes at its end
Ranges = tuple[np.ndarray, np.ndarray]  # int64 (n,), int64 (n,): positions and sizes


def column_pages(
    footer: Footer, group: int, column: Column, largest: int
) -> Iterator[tuple[Page, Callable[[], Bytes]]]:
    """Yields the pages of a column in a row group, each with a function that loads its content.

    Args:
        largest: bytes of a page that is read.

    Raises:
        Damaged: a page is damaged or too large.
    """
    chunk = footer.chunk(group, column)
    for page in pages(footer.read, chunk.start, chunk.end, chunk.rows):
        if largest < LARGEST_COMPRESSED or is_compressed(page, chunk.codec):
            check_size(page, largest)
        if page.is_dictionary and (page.encoding not in (PLAIN, PLAIN_DICTIONARY) or page.values > page.size):
            raise Damaged("its dictionary is damaged")
        yield page, functools.partial(_content, footer, page, chunk.codec)


def turn(page: Page) -> contextlib.AbstractContextManager[object]:
    """Returns the turn of a thread to have a page in memory: threads wait for each other if their pages are large."""
    return _LARGE_PAGE if page.size > _LARGE else contextlib.nullcontext()


def _content(footer: Footer, page: Page, codec: str) -> Bytes:
    """Returns a function that reads the content of a page. A page of large uncompressed images is not read whole."""
    if not is_compressed(page, codec):
        if page.size != page.stored:
            raise Damaged(f"the page at byte {page.offset:,} has a damaged header")
        if page.stored > _WHOLE * max(page.values, 1):
            return lambda position, size: footer.read(page.body + position, min(size, page.size - position))
    raw = unpacked(page, footer.read(page.body, page.stored), codec)
    if len(raw) < page.size:
        raise Damaged(f"the page at byte {page.offset:,} is cut off")
    return lambda position, size: raw[position : position + size]


def page_numbers(
    page: Page, content: Bytes, max_level: int, physical: str, dictionary: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which values of a page of whole numbers are present, bool (n,), and these values, int64.

    Args:
        physical: ``INT32`` or ``INT64``.
        dictionary: the values of the dictionary page before it, if there is one.

    Raises:
        Damaged: the page is damaged, or has an encoding that is not read.
    """
    present, start = (np.ones(page.values, bool), 0) if page.is_dictionary else _present(page, content, max_level)
    count = int(present.sum())
    if page.encoding == PLAIN or page.is_dictionary:
        kind = np.dtype("<i4" if physical == "INT32" else "<i8")
        raw = content(start, count * kind.itemsize)
        if len(raw) < count * kind.itemsize:
            raise Damaged("a page holds fewer values than it says")
        return present, np.frombuffer(raw, kind).astype(np.int64)
    return present, _from_dictionary(page, content, start, count, dictionary)


def plain_values(content: Bytes, start: int, stop: int, count: int) -> Ranges:
    """Returns the ranges of values that are stored one after the other, each after its length in four bytes.

    Raises:
        Damaged: they do not fill the range from ``start`` to ``stop``.
    """
    if 4 * count > stop - start:
        raise Damaged("a page holds fewer values than it says")
    positions, sizes = np.empty(count, np.int64), np.empty(count, np.int64)
    position = start
    for number in range(count):
        head = content(position, 4)
        if len(head) < 4:
            raise Damaged("a page is cut off")
        size = _LENGTH.unpack(head)[0]
        position += 4
        positions[number], sizes[number] = position, size
        position += size
        if position > stop:
            raise Damaged("a value is longer than its page")
    if position != stop:
        raise Damaged("a page holds more values than it says")
    return positions, sizes


class Values(NamedTuple):
    """The values of a data page.

    Attributes:
        present: bool (n,), false for a null.
        positions, sizes: int64, of the values that are present: their ranges in this page or in the dictionary page.
        in_dictionary: whether they are in the dictionary page.
    """

    present: np.ndarray
    positions: np.ndarray
    sizes: np.ndarray
    in_dictionary: bool


def page_values(page: Page, content: Bytes, max_level: int, dictionary: Ranges | None) -> Values:
    """Returns where the values of a data page are.

    Args:
        content: of the page, after decompression.
        max_level: the definition level of a value that is not null.
        dictionary: the ranges of the values in the dictionary page before it, if there is one.

    Raises:
        Damaged: the page is damaged, or has an encoding that is not read.
    """
    present, start = _present(page, content, max_level)
    count = int(present.sum())
    if page.encoding == PLAIN:
        return Values(present, *plain_values(content, start, page.size, count), False)
    numbers = None if dictionary is None else np.arange(len(dictionary[0]))
    places = _from_dictionary(page, content, start, count, numbers)
    assert dictionary is not None
    return Values(present, dictionary[0][places], dictionary[1][places], True)


def _from_dictionary(page: Page, content: Bytes, start: int, count: int, dictionary: np.ndarray | None) -> np.ndarray:
    """Returns the values of a page that holds indices into a dictionary. Raises Damaged."""
    if page.encoding not in INDICES:
        name = _ENCODINGS.get(page.encoding, f"number {page.encoding}")
        raise Damaged(
            f"a column has the encoding {name}, which is not read: write the file again with the encoding PLAIN "
            "(pyarrow.parquet.write_table does)"
        )
    if dictionary is None:
        raise Damaged("a page needs a dictionary, and there is none before it")
    indices = _indices(content(start, page.size - start), count)
    if count and (indices.min() < 0 or indices.max() >= len(dictionary)):
        raise Damaged("a page names values that its dictionary lacks")
    values: np.ndarray = dictionary[indices]
    return values


def _present(page: Page, content: Bytes, max_level: int) -> tuple[np.ndarray, int]:
    """Returns which values are there, and the position after the definition levels."""
    if page.kind not in (DATA, DATA_2):
        raise Damaged("a page has an unknown type")
    if page.kind == DATA_2:
        start, length = 0, page.levels
    elif max_level:
        head = content(0, 4)
        if len(head) < 4:
            raise Damaged("a page is cut off")
        start, length = 4, _LENGTH.unpack(head)[0]
    else:
        start, length = 0, 0
    if start + length > page.size:
        raise Damaged("a page is cut off")
    if not max_level:
        return np.ones(page.values, bool), start + length
    levels = hybrid(content(start, length), max_level.bit_length(), page.values)
    return levels == max_level, start + length


def _indices(data: bytes, count: int) -> np.ndarray:
    if not count:
        return np.zeros(0, np.int64)
    if not data or data[0] > 32:
        raise Damaged("a page is cut off")
    return hybrid(data[1:], data[0], count)


def hybrid(data: bytes, width: int, count: int) -> np.ndarray:
    """Decodes integers of ``width`` bits: runs of equal ones, and packed ones.

    Source: apache/parquet-format, ``Encodings.md``, "Run Length Encoding / Bit-Packing Hybrid".

    Returns:
        int64 (count,).

    Raises:
        Damaged: ``data`` holds fewer.
    """
    out = np.empty(count, np.int64)
    done = position = 0
    while done < count:
        head, position = _varint(data, position)
        if head & 1:
            stop = position + (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(data[position : min(stop, len(data))], np.uint8), bitorder="little")
            available = len(bits) // width if width else (head >> 1) * 8
            number = min(available, count - done)
            packed = bits[: number * width].reshape(number, width).astype(np.int64)
            out[done : done + number] = packed @ (1 << np.arange(width, dtype=np.int64))
        else:
            stop = position + (width + 7) // 8
            number = min(head >> 1, count - done)
            out[done : done + number] = int.from_bytes(data[position:stop], "little")
        if stop > len(data) and (not head & 1 or done + number < count):  # padding of packed integers may be missing
            raise Damaged("a page is cut off")
        position, done = stop, done + number
    return out


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise Damaged("a page is cut off")
        byte = data[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position
