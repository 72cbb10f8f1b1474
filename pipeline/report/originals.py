"""The untouched image of a sample, from whatever an output holds of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.data import RankDataset
from pipeline.data.output import Output
from pipeline.data.pixels import OFFSET
from pipeline.report.facts import VariantFacts


@dataclass(frozen=True)
class Originals:
    """Gives the original of a sample by its position in the split.

    Attributes:
        how: where it comes from, in words.
        get: uint8 (h, w, 3) of a position.
    """

    how: str
    get: Callable[[int], np.ndarray]


def originals(output: Output, variants: tuple[VariantFacts, ...], split: str) -> Originals | None:
    """The best way to the originals: ``full``, else an exact pair, else the pair of PNG that was clipped least.

    Returns:
        None where the output has no low-rank and high-rank-only images of one rank.
    """
    if "full" in output.variants:
        full = RankDataset(output.root, "full", split)
        return Originals("the variant full", lambda at: np.asarray(full.decode(at)))
    pairs = [
        (low, high)
        for low in variants
        for high in variants
        if (low.component, high.component) == ("low", "high") and (low.rank, low.form) == (high.rank, high.form)
    ]
    if not pairs:
        return None
    low, high = min(pairs, key=lambda pair: (pair[0].clipped or 0) + (pair[1].clipped or 0))
    lows, highs = (RankDataset(output.root, variant.name, split) for variant in (low, high))

    def joined(at: int) -> np.ndarray:
        first, second = np.asarray(lows.decode(at)), np.asarray(highs.decode(at))
        if low.form == "npy":
            return np.clip(np.rint(255 * (first + second)), 0, 255).astype(np.uint8)
        return np.clip(first.astype(np.int16) + second - OFFSET, 0, 255).astype(np.uint8)

    exact = low.form == "npy" or not (low.clipped or high.clipped)
    how = f"{low.name} + {high.name}" + ("" if low.form == "npy" else f" − {OFFSET}")
    return Originals(how if exact else f"{how}, exact save where either was clipped", joined)
