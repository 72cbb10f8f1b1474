"""``factors.zarr`` read row by row: its chunks are uncompressed, so one image's triplets are one positional read each."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import Output
from pipeline.errors import PipelineError

STORE = "factors.zarr"
_DTYPES = {"float32": "<f4", "float16": "<f2"}


class Triplets:
    """The largest singular triplets of the images of one split.

    Args:
        output: one that keeps factors.

    Raises:
        PipelineError: their description is missing or damaged.
    """

    def __init__(self, output: Output, split: str) -> None:
        self.rank = output.factors or 0
        self._files = Files()
        self._arrays = {name: _Array(output.root / STORE / split / name) for name in "usv"}
        ranks = {array.shape[-1] for array in self._arrays.values()}
        if ranks != {self.rank} or {array.shape[0] for array in self._arrays.values()} != {3}:
            raise PipelineError(f"{output.root / STORE} is not what the manifest says; build the output again")

    def low(self, row: int, rank: int) -> np.ndarray:
        """A_k of the image at an output position: float32 (3, h, w), of the image in [0, 1] (paper eq. 2).

        Args:
            rank: 0 < rank <= ``self.rank``.

        Raises:
            PipelineError: a chunk cannot be read.
        """
        u, s, v = (self._arrays[name].row(row, self._files) for name in "usv")
        scaled = u[..., :rank].astype(np.float32) * s[:, None, :rank].astype(np.float32)
        cut: np.ndarray = scaled @ v[..., :rank].astype(np.float32).swapaxes(1, 2)
        return cut


class _Array:
    """One Zarr 3 array of uncompressed chunks of whole rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "zarr.json"
        try:
            raw = json.loads(path.read_bytes())
            self.shape: tuple[int, ...] = tuple(_whole(side) for side in raw["shape"][1:])
            rows, *rest = raw["chunk_grid"]["configuration"]["chunk_shape"]
            self._rows, self._dtype = _whole(rows), np.dtype(_DTYPES[raw["data_type"]])
            plain = [codec["name"] for codec in raw["codecs"]] == ["bytes"]
            if not plain or tuple(rest) != self.shape or raw["chunk_key_encoding"]["configuration"]["separator"] != ".":
                raise ValueError
        except OSError as error:
            raise PipelineError(f"{path}: {error.strerror}; copy the output again, or build it again") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise PipelineError(f"{path} is damaged; copy the output again, or build it again") from None
        self._bytes = math.prod(self.shape) * self._dtype.itemsize

    def row(self, position: int, files: Files) -> np.ndarray:
        chunk, place = divmod(position, self._rows)
        path = self._folder / (f"c.{chunk}" + ".0" * len(self.shape))
        raw = files.read(str(path), place * self._bytes, self._bytes)
        return np.frombuffer(raw, self._dtype).reshape(self.shape)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 20:
        raise ValueError
    return value
