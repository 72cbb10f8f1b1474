"""Reads images of one split from all variants; each variant is opened once."""

from collections.abc import Mapping

import numpy as np

from pipeline.data import RankDataset
from pipeline.data.output import Output
from pipeline.numerics.variants import OFFSET


class Stored:
    """Images of a split as stored, by variant and position.

    Args:
        output: the output.
        split: name of the split.
        opened: variants of this split that are already open.
    """

    def __init__(self, output: Output, split: str, opened: Mapping[str, RankDataset]) -> None:
        self.output, self.split, self._open = output, split, dict(opened)

    def data(self, variant: str) -> RankDataset:
        """Returns the dataset of a variant. Raises PipelineError if its files differ from the manifest."""
        if variant not in self._open:
            self._open[variant] = RankDataset(self.output.root, variant, self.split)
        return self._open[variant]

    def raw(self, variant: str, position: int) -> np.ndarray:
        """Returns uint8 (h, w, 3) grey levels; for exact variants float32, in units of the image in [0, 1]."""
        return np.asarray(self.data(variant).decode(position))

    def grey(self, variant: str, position: int) -> np.ndarray:
        """Returns (h, w, 3) in grey levels, signed images with their offset: uint8; for exact variants float32."""
        pixels, part = self.raw(variant, position), self.data(variant).part
        return pixels if part.form == "png" else 255 * pixels + OFFSET * part.signed

    def pixels(self, variant: str, position: int) -> np.ndarray:
        """Returns uint8 (h, w, 3): ``grey``, rounded and clipped."""
        grey = self.grey(variant, position)
        return grey if grey.dtype == np.uint8 else np.clip(np.rint(grey), 0, 255).astype(np.uint8)
