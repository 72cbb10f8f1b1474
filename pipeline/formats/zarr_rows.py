"""Zarr arrays with one row per output position, written by many tasks that never share a file.

A chunk is uncompressed, under 64 MB, and holds a number of rows that divides a shard's, so a reader can also read a single
row from its place in the file. Rows of rejected images are NaN. Format: Zarr 3.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.storage import files
from pipeline.storage.store import PublishedFile

MAX_CHUNK = 64 * 2**20  # bytes


@dataclass(frozen=True)
class RowArray:
    """One array.

    Attributes:
        path: of the array's folder in the output.
        shape: of a row.
        dtype: of the values, as in NumPy: ``<f4`` or ``<f2``.
        axes: names of a row's axes.
        samples_per_shard: number of rows that a task writes.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str, ...]
    samples_per_shard: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def chunk_rows(self) -> int:
        """The number of rows of a chunk: the largest divisor of a shard's rows that keeps a chunk under 64 MB."""
        for parts in range(1, self.samples_per_shard + 1):
            rows = self.samples_per_shard // parts
            if self.samples_per_shard % parts == 0 and rows * self.row_bytes <= MAX_CHUNK:
                return rows
        return 1

    def chunk(self, position: int) -> str:
        """Returns the name of the chunk file that holds an output position."""
        return f"{self.path}/c.{position // self.chunk_rows}" + ".0" * len(self.shape)

    def chunks(self, start: int, stop: int) -> list[str]:
        """Returns the names of the chunk files of the output positions from ``start`` to ``stop`` (excluded)."""
        return [self.chunk(first) for first in range(start, stop, self.chunk_rows)]


class RowWriter:
    """Writes a shard's chunks of an array as a stream: memory does not grow with the shard.

    Args:
        start, stop: the shard's output positions.
        scratch_for: returns the scratch path for a file's name in the output. The caller publishes or removes the file.
    """

    def __init__(self, array: RowArray, start: int, stop: int, scratch_for: Callable[[str], Path]) -> None:
        self._array, self._at, self._stop, self._scratch_for = array, start, stop, scratch_for
        self._nan_row = np.full(array.shape, np.nan, array.dtype).tobytes()
        self._proofs: list[PublishedFile] = []
        self._file: Any = None
        self._digest = hashlib.sha256()

    def add(self, positions: list[int], rows: np.ndarray) -> None:
        """Writes rows at ascending output positions. Skipped positions become NaN."""
        for position, row in zip(positions, np.ascontiguousarray(rows, self._array.dtype), strict=True):
            while self._at < position:
                self._write(self._nan_row)
            self._write(row.data)

    def finish(self) -> tuple[PublishedFile, ...]:
        """Fills the last chunk with NaN, closes it, and returns the proofs of all chunks."""
        while self._at < self._stop or self._at % self._array.chunk_rows:
            self._write(self._nan_row)
        return tuple(self._proofs)

    def close(self) -> None:
        """Closes the file of an unfinished chunk."""
        if self._file is not None:
            self._file.close()

    def _write(self, row: Any) -> None:
        rows = self._array.chunk_rows
        if self._at % rows == 0:
            self._file = files.create(self._scratch_for(self._array.chunk(self._at)))
            self._digest = hashlib.sha256()
        self._file.write(row)
        self._digest.update(row)
        self._at += 1
        if self._at % rows == 0:
            self._file.close()
            name = self._array.chunk(self._at - 1)
            self._proofs.append(PublishedFile(name, rows * self._array.row_bytes, self._digest.hexdigest()))


def metadata(store: str, attributes: Mapping[str, Any], arrays: Mapping[RowArray, int]) -> dict[str, bytes]:
    """Returns the ``zarr.json`` files of a store, by their names in the output.

    Args:
        store: the store's folder.
        attributes: of the root group.
        arrays: the number of rows of each array.
    """
    import zarr  # takes half a second, and only the driver needs it
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    contents: dict[str, Buffer] = {}
    root = zarr.create_group(MemoryStore(contents), zarr_format=3, attributes=dict(attributes))
    for array, count in arrays.items():
        root.create_array(
            array.path.removeprefix(f"{store}/"),
            shape=(count, *array.shape),
            chunks=(array.chunk_rows, *array.shape),
            dtype=array.dtype,
            fill_value=np.dtype(array.dtype).type(np.nan),
            compressors=None,
            filters=None,
            dimension_names=("image", *array.axes),
            chunk_key_encoding={"name": "default", "separator": "."},  # one flat folder of files per array
            config={"write_empty_chunks": True},
        )
    return {f"{store}/{name}": content.to_bytes() for name, content in sorted(contents.items())}
