"""Zarr arrays whose row is an output position, written by many tasks that never share a file.

Chunks are whole numbers of rows that divide a shard's, under 64 MB, uncompressed: a reader may also take one row from
its place in the file. Rejected images are rows of NaN. Format: Zarr 3.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.storage import files
from pipeline.storage.store import FileProof

MAX_CHUNK = 64 * 2**20  # bytes


@dataclass(frozen=True)
class RowArray:
    """One array.

    Attributes:
        path: of its folder in the output.
        shape: of a row.
        dtype: of its values, as numpy spells it: ``<f4`` or ``<f2``.
        axes: names of a row's axes.
        samples_per_shard: rows that a task writes.
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
        """Rows of a chunk: the largest divisor of a shard's rows that keeps a chunk under 64 MB."""
        for parts in range(1, self.samples_per_shard + 1):
            rows = self.samples_per_shard // parts
            if self.samples_per_shard % parts == 0 and rows * self.row_bytes <= MAX_CHUNK:
                return rows
        return 1

    def chunk(self, position: int) -> str:
        """The name of the chunk file that holds an output position."""
        return f"{self.path}/c.{position // self.chunk_rows}" + ".0" * len(self.shape)

    def chunks(self, start: int, stop: int) -> list[str]:
        """The names of the chunk files of output positions ``start`` to ``stop``."""
        return [self.chunk(first) for first in range(start, stop, self.chunk_rows)]


class RowWriter:
    """Writes a shard's chunks of an array as a stream: memory does not grow with the shard.

    Args:
        start, stop: the shard's output positions.
        scratch_for: gives the path to write a file at, by its name in the output; the caller publishes or removes it.
    """

    def __init__(self, array: RowArray, start: int, stop: int, scratch_for: Callable[[str], Path]) -> None:
        self._array, self._at, self._stop, self._scratch_for = array, start, stop, scratch_for
        self._nothing = np.full(array.shape, np.nan, array.dtype).tobytes()
        self._proofs: list[FileProof] = []
        self._file: Any = None
        self._digest = hashlib.sha256()

    def add(self, positions: list[int], rows: np.ndarray) -> None:
        """Write rows at ascending output positions; positions that are left out are NaN."""
        for position, row in zip(positions, np.ascontiguousarray(rows, self._array.dtype), strict=True):
            while self._at < position:
                self._write(self._nothing)
            self._write(row.data)

    def finish(self) -> tuple[FileProof, ...]:
        """Fill up the last chunk and close it; the proofs of all chunks."""
        while self._at < self._stop or self._at % self._array.chunk_rows:
            self._write(self._nothing)
        return tuple(self._proofs)

    def close(self) -> None:
        """Give up an unfinished chunk."""
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
            self._proofs.append(FileProof(name, rows * self._array.row_bytes, self._digest.hexdigest()))


def metadata(store: str, attributes: Mapping[str, Any], arrays: Mapping[RowArray, int]) -> dict[str, bytes]:
    """A store's ``zarr.json`` files, by their names in the output.

    Args:
        store: its folder.
        attributes: of its root group.
        arrays: with the number of rows of each.
    """
    import zarr  # half a second to import, and only the driver needs it
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    root = zarr.create_group(MemoryStore(files), zarr_format=3, attributes=dict(attributes))
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
    return {f"{store}/{name}": content.to_bytes() for name, content in sorted(files.items())}
