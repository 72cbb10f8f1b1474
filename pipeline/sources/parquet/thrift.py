"""Parses structures in Thrift's compact protocol, which the footers and page headers of Parquet files are written in.

pyarrow's own parser ends the process when some bytes of a footer are damaged, so it is not used.
Source: apache/thrift, ``doc/specs/thrift-compact-protocol.md``.
"""

from typing import Any

_DEEPEST = 12  # structures and lists inside others; a footer has seven
_MOST = 5_000_000  # values; a footer of 100 columns and 1,000 row groups has half of them
_LONGEST = 10  # bytes of an integer of 64 bits
_FIXED = {3: 1, 7: 8}  # byte and double: bytes by type
_INTEGERS = (4, 5, 6)
_TRUE, _FALSE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 8, 9, 10, 12

Struct = dict[int, Any]  # values by field number: int, bool, bytes, list or Struct; None for bytes and doubles


class CutOff(Exception):
    """The bytes end inside the structure."""


def parse_struct(data: bytes) -> tuple[Struct, int]:
    """Returns the structure at the beginning of ``data``, and its length in bytes.

    Raises:
        CutOff: more bytes are needed.
        ValueError: it is no structure, or has too many values.
    """
    reader = _Reader(data)
    return reader.struct(0), reader.position


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.position, self._left = data, 0, _MOST

    def struct(self, depth: int) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = head & 15 == _TRUE if head & 15 in (_TRUE, _FALSE) else self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise ValueError("too deep or too many values")
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind in _FIXED:
            self._take(_FIXED[kind])
            return None
        if kind in (_TRUE, _FALSE):  # in a list
            return self._byte() == _TRUE
        raise ValueError(f"unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        return [self._value(head & 15, depth) for _ in range(count)]  # an element has at least a byte

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

    def _take(self, count: int) -> bytes:
        start = self.position
        self.position += count
        if self.position > len(self._data):
            raise CutOff
        return self._data[start : self.position]
