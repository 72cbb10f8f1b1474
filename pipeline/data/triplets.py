"""Reads ``factors.zarr``: U, S and V of an image are one positional read each."""

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import NAME, Output
from pipeline.data.zarr_rows import ZarrRows
from pipeline.errors import PipelineError
from pipeline.numerics.geometry import MAX_SIDE

STORE = "factors.zarr"


class Triplets:
    """The largest singular triplets of the images of one split.

    Args:
        output: an output built with ``--factors``.
        split: name of the split.

    Attributes:
        rank: number of triplets of each plane.

    Raises:
        PipelineError: the arrays' metadata is missing or damaged.
    """

    def __init__(self, output: Output, split: str) -> None:
        self.rank = output.factors or 0
        self._files = Files()
        height, width = output.shape or (0, 0)
        if not 0 < self.rank <= min(height, width) <= MAX_SIDE:
            raise PipelineError(
                f"{output.root / NAME} is damaged: its rank of factors does not fit its images; copy or build it again"
            )
        rows = {"u": (3, height, self.rank), "s": (3, self.rank), "v": (3, width, self.rank)}
        self._arrays = {name: ZarrRows(output.root / STORE / split / name, rows[name]) for name in "usv"}

    def low(self, row: int, rank: int) -> np.ndarray:
        """Returns A_k of one image, float32 (3, h, w), in units of the image in [0, 1] (paper eq. 2).

        Args:
            row: the image's output position, which counts rejected images too.
            rank: 0 < rank <= ``self.rank``.

        Raises:
            PipelineError: a chunk cannot be read.
        """
        u, s, v = (self._arrays[name].row(row, self._files) for name in "usv")
        scaled = u[..., :rank].astype(np.float32) * s[:, None, :rank].astype(np.float32)
        cut: np.ndarray = scaled @ v[..., :rank].astype(np.float32).swapaxes(1, 2)
        return cut
