"""Finds the values of a column of byte strings inside its pages, without a copy of them."""

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.sources.parquet.pages import DATA, DATA_2, INDICES, PLAIN, Damaged, Page

_ENCODINGS = {4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
_LENGTH = struct.Struct("<I")

Bytes = Callable[[int, int], bytes]  # (position, size) in the content of a page; returns fewer bytes at its end
Ranges = tuple[np.ndarray, np.ndarray]  # int64 (n,), int64 (n,): positions and sizes


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
    if page.encoding not in INDICES:
        name = _ENCODINGS.get(page.encoding, f"number {page.encoding}")
        raise Damaged(
            f"the image column has the encoding {name}, which is not read: write the file again with the encoding PLAIN "
            "(pyarrow.parquet.write_table does)"
        )
    if dictionary is None:
        raise Damaged("a page needs a dictionary, and there is none before it")
    indices = _indices(content(start, page.size - start), count)
    if count and (indices.min() < 0 or indices.max() >= len(dictionary[0])):
        raise Damaged("a page names values that its dictionary lacks")
    return Values(present, dictionary[0][indices], dictionary[1][indices], True)


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
