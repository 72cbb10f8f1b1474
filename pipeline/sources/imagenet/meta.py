"""Reads the table of synsets in the devkit's ``meta.mat``: the part of MATLAB's format 5 that this file uses.

Format: MathWorks, "MAT-File Format", "Level 5 MAT-Files".
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError

_LARGEST = 64 << 20  # unpacked bytes; the official file has about one million
_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2  # the class of a matrix
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}


class _Element(NamedTuple):
    kind: int
    data: bytes


def read_synsets(content: bytes, name: str) -> dict[int, str]:
    """Returns the WordNet ids of leaves and inner nodes by ``ILSVRC2012_ID`` (from 1), from ``meta.mat``.

    Args:
        content: the file.
        name: the file's name in errors.

    Raises:
        PipelineError: it is another file, or it is damaged.
    """
    try:
        if len(content) < 128 or content[126:128] != b"IM":
            raise ValueError("it is not a little-endian MATLAB 5 file")
        most = _LARGEST
        for element in _elements(content[128:]):
            variable, unpacked = _unpacked(element, most)
            most -= unpacked
            synsets = _synsets(variable)
            if synsets is not None:
                return synsets
        raise ValueError("it has no table 'synsets'")
    except (ValueError, IndexError, KeyError, OverflowError, StopIteration, zlib.error) as error:
        reason = str(error) if type(error) is ValueError else "it is cut off, or holds something else"
        raise PipelineError(f"{name} is not the devkit's meta.mat, or a damaged one: {reason}") from None


def _unpacked(element: _Element, most: int) -> tuple[_Element, int]:
    """Unpacks an element. Returns it and its unpacked size, which must be less than ``most`` bytes."""
    if element.kind != _COMPRESSED:
        return element, 0
    data = zlib.decompressobj().decompress(element.data, most)
    if len(data) == most:
        raise ValueError("it unpacks to far more than such a table holds")
    return next(_elements(data)), len(data)


def _elements(data: bytes) -> Iterator[_Element]:
    position = 0
    while position < len(data):
        word = int.from_bytes(data[position : position + 4], "little")
        if word >> 16:  # a small element: type and size in four bytes, the data in the next four
            kind, size, start, stop = word & 0xFFFF, word >> 16, position + 4, position + 8
        else:
            kind, size, start = word, int.from_bytes(data[position + 4 : position + 8], "little"), position + 8
            stop = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
        if start + size > min(stop, len(data)):
            raise ValueError("it is cut off")
        yield _Element(kind, data[start : start + size])
        position = stop


def _synsets(element: _Element) -> dict[int, str] | None:
    """Returns the struct array ``synsets`` as {ILSVRC2012_ID: WNID}, or None if the element is another variable."""
    if element.kind != _MATRIX:
        return None
    parts = _elements(element.data)
    flags, _, name = next(parts), next(parts), next(parts)
    if flags.data[0] != _STRUCT or name.data != b"synsets":
        return None
    width = int.from_bytes(next(parts).data, "little")
    joined = next(parts).data
    if not 0 < width <= 64:
        raise ValueError("its field names are damaged")
    fields = [joined[at : at + width].partition(b"\0")[0].decode("ascii") for at in range(0, len(joined), width)]
    number, wnid = fields.index("ILSVRC2012_ID"), fields.index("WNID")
    synsets: dict[int, str] = {}
    row: list[_Element] = []
    for cell in parts:  # the fields of the first row, then of the next
        row.append(cell)
        if len(row) == len(fields):
            synsets[_value(row[number])] = _string(row[wnid])
            row = []
    if row or not synsets:
        raise ValueError("its table is cut off")
    return synsets


def _value(cell: _Element) -> int:
    kind, data = _content(cell)
    values = np.frombuffer(data, f"<{_NUMBERS[kind]}")
    if len(values) != 1 or values[0] != int(values[0]):
        raise ValueError("an ILSVRC2012_ID is not a whole number")
    return int(values[0])


def _string(cell: _Element) -> str:
    kind, data = _content(cell)
    return data.decode(_TEXTS[kind])


def _content(cell: _Element) -> _Element:
    """Returns the data of a numeric or text matrix: its fourth part, after flags, dimensions and name."""
    parts = list(_elements(cell.data))
    if cell.kind != _MATRIX or len(parts) < 4:
        raise ValueError("a field is neither number nor text")
    return parts[3]
