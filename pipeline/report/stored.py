"""The variants of one split, each opened once."""

from collections.abc import Mapping

import numpy as np

from pipeline.data import RankDataset
from pipeline.data.output import Output
from pipeline.numerics.variants import OFFSET


class Stored:
    """Images of a split as they are stored, by variant and position.

    Args:
        opened: variants of this split that are open already.
    """

    def __init__(self, output: Output, split: str, opened: Mapping[str, RankDataset]) -> None:
        self.output, self.split, self._open = output, split, dict(opened)

    def data(self, variant: str) -> RankDataset:
        """Raises PipelineError: its files are not those of the manifest."""
        if variant not in self._open:
            self._open[variant] = RankDataset(self.output.root, variant, self.split)
        return self._open[variant]

    def raw(self, variant: str, position: int) -> np.ndarray:
        """uint8 (h, w, 3) grey levels, or float32 of the image in [0, 1] where the variant is exact."""
        return np.asarray(self.data(variant).decode(position))

    def grey(self, variant: str, position: int) -> np.ndarray:
        """(h, w, 3) in grey levels, signed ones with their offset: uint8, or float32 where the variant is exact."""
        pixels, part = self.raw(variant, position), self.data(variant).part
        return pixels if part.form == "png" else 255 * pixels + OFFSET * part.signed

    def pixels(self, variant: str, position: int) -> np.ndarray:
        """uint8 (h, w, 3): as ``grey``, rounded and clipped."""
        grey = self.grey(variant, position)
        return grey if grey.dtype == np.uint8 else np.clip(np.rint(grey), 0, 255).astype(np.uint8)
