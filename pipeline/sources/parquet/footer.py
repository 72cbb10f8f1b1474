"""Opens Parquet files and reads their footers: columns, row groups and metadata.

Source: apache/parquet-format, ``parquet.thrift`` (FileMetaData) and ``README.md``, "Nested Encoding".
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import PipelineError
from pipeline.sources.parquet.pages import Damaged
from pipeline.sources.parquet.thrift import CutOff, Struct, parse_struct
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer

_LARGEST = 1 << 26  # bytes of a footer; those of the Hub have kilobytes
_LEAST = 16  # bytes of a file for each row, so that few bytes cannot claim many rows; the smallest PNG has 67
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_CODECS = {0: "uncompressed", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_OPTIONAL, _REPEATED = 1, 2
_DEEPEST = 64  # groups of columns inside each other


@dataclass(frozen=True)
class Column:
    """A leaf column.

    Attributes:
        number: its place among the leaf columns.
        path: the names that lead to it, such as ``("image", "bytes")``.
        physical: its type in the file, such as ``BYTE_ARRAY``.
        kind: ``bytes``, ``text``, ``number`` (a whole one) or ``other``.
        level: the definition level of a value that is not null.
        repeated: whether it is in a list.
    """

    number: int
    path: tuple[str, ...]
    physical: str
    kind: str
    level: int
    repeated: bool


@dataclass(frozen=True)
class Chunk:
    """The pages of a column in one row group: ``rows`` values in the bytes from ``start`` to ``end`` of the file."""

    start: int
    end: int
    rows: int
    codec: str


class Footer:
    """An open Parquet file. ``opened`` makes it.

    Attributes:
        path, size: of the file.
        rows: by row group.
        groups: numbers of the row groups that have rows.
        columns: the leaf columns.
        names: of the columns that are no part of another.
    """

    def __init__(self, path: str, file: BinaryIO, size: int) -> None:
        self.path, self.size, self._descriptor = path, size, file.fileno()
        length = int.from_bytes(self.read(size - 8, 4), "little")
        fields, _ = parse_struct(self.read(size - 8 - length, length))
        self.columns = _columns(fields[2])
        self.names = list(dict.fromkeys(column.path[0] for column in self.columns))
        self._groups: list[Struct] = fields[4]
        self._metadata = fields.get(5) or []
        self.rows = [_count(group[3]) for group in self._groups]
        if sum(self.rows) != _count(fields[3]):
            raise Damaged("its footer is damaged")
        # A group without rows has no pages: some writers give its columns no place.
        self.groups = [group for group, rows in enumerate(self.rows) if rows]

    def check_rows(self) -> None:
        """Raises Damaged if the file is too small for images in all of its rows."""
        if sum(self.rows) * _LEAST > self.size:
            raise Damaged(f"its footer claims {sum(self.rows):,} images in {self.size:,} bytes")

    def read(self, offset: int, size: int) -> bytes:
        """Returns ``size`` bytes of the file from ``offset``, fewer at its end."""
        return os.pread(self._descriptor, size, offset)

    def chunk(self, group: int, column: Column) -> Chunk:
        """Returns the pages of a column in a row group. Raises Damaged."""
        claim = self._groups[group][1][column.number]
        if 1 in claim:
            raise Damaged("its columns are in another file, which is not opened")
        fields = claim[3]
        path = tuple(_text(name) for name in fields[3])
        if path != column.path or fields[1] != _TYPES.index(column.physical):
            raise Damaged("its footer is damaged")
        codec = _CODECS.get(fields[4])
        if codec is None:
            raise Damaged(
                f"it has the compression number {fields[4]}, which is not read: write it again with another one"
            )
        start = data = _count(fields[9])
        if 0 < (dictionary := _count(fields.get(11, 0))) < data:
            start = dictionary
        length, rows = _count(fields[7]), _count(fields[5])
        if start < len(_MAGIC) or start + length > self.size or (rows != self.rows[group] and not column.repeated):
            raise Damaged("its footer is damaged, or the file is cut off")
        return Chunk(start, start + length, rows, codec)

    def features(self) -> dict[str, Any]:
        """Returns the features in the ``huggingface`` metadata, by column. Empty if there are none."""
        values = [pair.get(2) for pair in self._metadata if pair.get(1) == b"huggingface"]
        try:
            features = json.loads(values[0] or b"")["info"]["features"]
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            return {}
        return features if isinstance(features, dict) else {}


def _columns(schema: Sequence[Struct]) -> list[Column]:
    """Returns the leaf columns of a schema, which lists a tree with each group before its children."""
    columns: list[Column] = []
    open_groups: list[list[Any]] = []  # name, level, repeated, children that are left
    for place, element in enumerate(schema):
        name, repetition, children = _text(element[4]), element.get(3, 0), _count(element.get(5, 0))
        _, level, repeated, _ = open_groups[-1] if open_groups else ("", 0, False, 0)
        if place:
            level, repeated = level + (repetition in (_OPTIONAL, _REPEATED)), repeated or repetition == _REPEATED
            open_groups[-1][3] -= 1
        if children:
            open_groups.append([name, level, repeated, children])
            if len(open_groups) > _DEEPEST:
                raise ValueError("too deep")
        else:
            path = (*(group[0] for group in open_groups[1:]), name)
            physical = _TYPES[_count(element[1])]
            columns.append(Column(len(columns), path, physical, _kind(physical, element), level, repeated))
        while len(open_groups) > 1 and open_groups[-1][3] == 0:
            open_groups.pop()
    if len(open_groups) != 1 or open_groups[0][3]:
        raise ValueError("the tree is not complete")
    return columns


def _kind(physical: str, element: Struct) -> str:
    """Returns the kind of a column by its physical type, its converted type (field 6), and its logical type (field 10)."""
    converted, logical = element.get(6), next(iter(element.get(10) or {}), None)
    if physical == "BYTE_ARRAY":
        if converted in (0, 4) or logical in (1, 4):  # UTF8, ENUM; STRING, ENUM
            return "text"
        return "bytes" if converted is None and logical is None else "other"
    whole = converted in (None, *range(11, 19)) and logical in (None, 10)  # UINT_8 to INT_64; INTEGER
    return "number" if physical in ("INT32", "INT64") and whole else "other"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError("no count")
    return value


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Footer]:
    """Opens a Parquet file. Errors inside the block become one line that names the file.

    Raises:
        PipelineError: the file cannot be read, is no Parquet file, or is damaged.
    """
    try:
        with open(regular_descriptor(path), "rb") as file:
            size = _check(file)
            yield Footer(str(path), file, size)
    except Damaged as error:
        raise PipelineError(f"{path}: {error}") from None
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror or error}") from None
    except (CutOff, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise PipelineError(f"{path}: its footer is damaged: get it again") from None


def _check(file: BinaryIO) -> int:
    """Returns the size of a file. Raises Damaged if it does not begin and end as a Parquet file."""
    size = os.fstat(file.fileno()).st_size
    head = os.pread(file.fileno(), 1 << 12, 0)
    tail = os.pread(file.fileno(), 8, max(size - 8, 0))
    if fault := pointer(head):
        raise Damaged(f"it is {fault}")
    if head[:4] == _ENCRYPTED or tail[4:] == _ENCRYPTED:
        raise Damaged("it is encrypted")
    if head[:4] != _MAGIC:
        raise Damaged("it is no Parquet file")
    if tail[4:] != _MAGIC or size < 12:
        raise Damaged("it is cut off or half-downloaded, because it has no footer: get it again")
    if int.from_bytes(tail[:4], "little") > min(size - 12, _LARGEST):
        raise Damaged("its footer is damaged, or the file is cut off: get it again")
    return size
