"""Reads rows of an output's Zarr arrays. Chunks are not compressed, so a row is one positional read."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import NAME
from pipeline.errors import PipelineError
from pipeline.storage.files import read_regular

_MAX_METADATA = 1 << 20  # bytes; a build writes about 1,000
_DTYPES = {"float32": "<f4", "float16": "<f2"}


class ZarrRows:
    """A Zarr 3 array whose uncompressed chunks hold whole rows.

    Args:
        folder: folder of the array.
        shape: shape of a row according to the manifest, which limits how much is read.

    Attributes:
        rows: number of rows.
        shape: shape of a row.

    Raises:
        PipelineError: the array is missing, or not as a build writes it.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder, self.shape = folder, shape
        path = folder / "zarr.json"
        try:
            raw = json.loads(read_regular(path, _MAX_METADATA))
            count, *sides = raw["shape"]
            if tuple(map(_whole, sides)) != shape:
                raise PipelineError(
                    f"{path} has rows of shape {sides}, but {NAME} says {[*shape]}; build the output again"
                )
            self.rows = _whole(count, 0, 1 << 40)
            rows, *rest = raw["chunk_grid"]["configuration"]["chunk_shape"]
            self._chunk, self._dtype = _whole(rows), np.dtype(_DTYPES[raw["data_type"]])
            plain = raw["codecs"] == [{"name": "bytes", "configuration": {"endian": "little"}}]
            if not plain or tuple(rest) != self.shape or raw["chunk_key_encoding"]["configuration"]["separator"] != ".":
                raise ValueError
        except OSError as error:
            raise PipelineError(f"{path}: {error.strerror}; copy the output again, or build it again") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise PipelineError(f"{path} is damaged; copy the output again, or build it again") from None
        self._bytes = math.prod(self.shape) * self._dtype.itemsize

    def row(self, position: int, files: Files) -> np.ndarray:
        """Returns a row of floats, read-only. Raises PipelineError if it cannot be read."""
        chunk, place = divmod(position, self._chunk)
        path = self._folder / (f"c.{chunk}" + ".0" * len(self.shape))
        raw = files.read(str(path), place * self._bytes, self._bytes)
        return np.frombuffer(raw, self._dtype).reshape(self.shape)


def _whole(value: Any, least: int = 1, most: int = 1 << 20) -> int:
    if type(value) is not int or not least <= value < most:
        raise ValueError
    return value
