"""Parses structures in Thrift's compact protocol, which the page headers of Parquet files are written in.

Source: apache/thrift, ``doc/specs/thrift-compact-protocol.md``.
"""

from typing import Any

_DEEPEST = 8  # structures inside structures; a page header has two
_LONGEST = 10  # bytes of an integer of 64 bits
_FIXED = {3: 1, 7: 8}  # byte and double: bytes by type
_INTEGERS = (4, 5, 6)
_TRUE, _FALSE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 8, 9, 10, 12

Struct = dict[int, Any]  # values by field number: int, bool, or Struct; None for what is skipped


class CutOff(Exception):
    """The bytes end inside the structure."""


def parse_struct(data: bytes) -> tuple[Struct, int]:
    """Returns the structure at the beginning of ``data``, and its length in bytes. Texts and lists are skipped.

    Raises:
        CutOff: more bytes are needed.
        ValueError: it is no structure.
    """
    reader = _Reader(data)
    return reader.struct(0), reader.position


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.position = data, 0

    def struct(self, depth: int) -> Struct:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in _FIXED:
            self._skip(_FIXED[kind])
        elif kind in (_LIST, _SET):
            self._list(depth)
        else:
            raise ValueError(f"unknown type {kind}")
        return None

    def _list(self, depth: int) -> None:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        for _ in range(count):  # every element has at least one byte, so that the data ends the loop
            if head & 15 in (_TRUE, _FALSE):
                self._skip(1)
            else:
                self._value(head & 15, depth + 1)

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for place in range(_LONGEST):
            byte = self._byte()
            number |= (byte & 127) << (7 * place)
            if byte < 128:
                return number
        raise ValueError("an integer is too long")

    def _byte(self) -> int:
        if self.position >= len(self._data):
            raise CutOff
        self.position += 1
        return self._data[self.position - 1]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self._data):
            raise CutOff
