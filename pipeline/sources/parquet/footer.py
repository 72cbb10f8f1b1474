"""Opens Parquet files with pyarrow: the footer, which names columns and row groups, and the values of small columns."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.extras import install
from pipeline.sources.parquet.pages import Damaged
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer

_LARGEST = 1 << 27  # bytes of a footer; those of the Hub have kilobytes
_LARGEST_LIST = 1 << 22  # entries of a list in a footer
_LEAST = 16  # bytes of a file for each row, so that few bytes cannot claim many rows; the smallest PNG has 67
_MAGIC = b"PAR1"
_CODECS = {"lz4": "lz4_raw"}  # footers and pyarrow's functions call the format of a block differently


@dataclass(frozen=True)
class Column:
    """A leaf column, such as ``image.bytes``.

    Attributes:
        number: its place among the leaf columns.
        path: the names that lead to it, joined by dots.
        physical: its type in the file, such as ``BYTE_ARRAY``.
        level: the definition level of a value that is not null.
        repeated: whether it is in a list.
    """

    number: int
    path: str
    physical: str
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
    """An open Parquet file. ``opened`` makes it."""

    def __init__(self, path: str, file: Any, size: int) -> None:
        self.path, self.size, self._file = path, size, file
        self._texts: tuple[str, Any] | None = None
        self.reader = self._open()
        self._metadata = self.reader.metadata
        self.groups = range(self._metadata.num_row_groups)
        rows = [self._metadata.row_group(group).num_rows for group in self.groups]
        if sum(rows) != self._metadata.num_rows or min(rows, default=0) < 0:
            raise Damaged("its footer is damaged")
        if sum(rows) * _LEAST > size:
            raise Damaged(f"its footer claims {sum(rows):,} images in {size:,} bytes")
        self.rows = rows

    def _open(self, dictionary: list[str] | None = None) -> Any:
        import pyarrow.parquet as pq

        limits = {"thrift_string_size_limit": _LARGEST, "thrift_container_size_limit": _LARGEST_LIST}
        return pq.ParquetFile(self._file, read_dictionary=dictionary, **limits)

    def read(self, offset: int, size: int) -> bytes:
        """Returns ``size`` bytes of the file from ``offset``, fewer at its end."""
        return os.pread(self._file.fileno(), size, offset)

    def column(self, group: int, name: str) -> Any:
        """Returns the values of a small column in a row group, a pyarrow array. Texts are dictionary-encoded."""
        table = self._dictionaries(name).read_row_group(group, columns=[name], use_threads=False)
        return table.column(0).combine_chunks()

    def _dictionaries(self, name: str) -> Any:
        """Returns a reader that keeps each text of a column once: a page can name one long text for every row."""
        if self._texts is None or self._texts[0] != name:
            self._texts = (name, self._open([name]))
        return self._texts[1]

    @property
    def columns(self) -> list[Column]:
        """The leaf columns of the file."""
        schema = self.reader.schema
        leaves = (schema.column(number) for number in range(len(schema)))
        return [
            Column(number, leaf.path, leaf.physical_type, leaf.max_definition_level, bool(leaf.max_repetition_level))
            for number, leaf in enumerate(leaves)
        ]

    def chunk(self, group: int, column: int) -> Chunk:
        """Returns the pages of a column in a row group. Raises Damaged."""
        claim = self._metadata.row_group(group).column(column)
        if claim.file_path:
            raise Damaged(f"its columns are in another file, {claim.file_path[:100]!r}, which is not opened")
        starts = [claim.data_page_offset]
        if claim.dictionary_page_offset is not None and 0 < claim.dictionary_page_offset < claim.data_page_offset:
            starts.append(claim.dictionary_page_offset)
        start, length, rows = min(starts), claim.total_compressed_size, claim.num_values
        if start < len(_MAGIC) or length < 0 or start + length > self.size or rows != self.rows[group]:
            raise Damaged("its footer is damaged, or the file is cut off")
        codec = str(claim.compression).lower()
        return Chunk(start, start + length, rows, _CODECS.get(codec, codec))

    def features(self) -> dict[str, Any]:
        """Returns the features in the schema's ``huggingface`` metadata, by column. Empty if there are none."""
        metadata = self.reader.schema_arrow.metadata or {}
        try:
            features = json.loads(metadata[b"huggingface"])["info"]["features"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return {}
        return features if isinstance(features, dict) else {}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Footer]:
    """Opens a Parquet file. Errors inside the block become one line that names the file.

    Raises:
        PipelineError: pyarrow is missing, the file cannot be read, is no Parquet file, or is damaged.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise PipelineError(f"--dataset parquet: {install('pyarrow')}") from None
    try:
        with open(regular_descriptor(path), "rb") as file:
            _check(file)
            yield Footer(str(path), file, os.fstat(file.fileno()).st_size)
    except Damaged as error:
        raise PipelineError(f"{path}: {error}") from None
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
        raise PipelineError(f"{path} is damaged ({type(error).__name__}): get it again") from None


def _check(file: Any) -> None:
    """Raises Damaged if a file does not begin and end as a Parquet file."""
    size = os.fstat(file.fileno()).st_size
    head = os.pread(file.fileno(), 1 << 12, 0)
    tail = os.pread(file.fileno(), 8, max(size - 8, 0))
    if fault := pointer(head):
        raise Damaged(f"it is {fault}")
    if head[:4] == b"PARE" or tail[4:] == b"PARE":
        raise Damaged("it is encrypted")
    if head[:4] != _MAGIC:
        raise Damaged("it is no Parquet file")
    if tail[4:] != _MAGIC or size < 12:
        raise Damaged("it is cut off or half-downloaded, because it has no footer: get it again")
    if int.from_bytes(tail[:4], "little") > min(size - 12, _LARGEST):
        raise Damaged("its footer is damaged, or the file is cut off: get it again")
