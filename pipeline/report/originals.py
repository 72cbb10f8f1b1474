"""The untouched image of a sample, from whatever an output holds of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.numerics.variants import OFFSET
from pipeline.report.page.facts import VariantFacts
from pipeline.report.stored import Stored

FULL = "full"


@dataclass(frozen=True)
class Originals:
    """Gives the original of a sample by its position in the split.

    Attributes:
        how: where it comes from, in words.
        get: uint8 (h, w, 3) of a position.
    """

    how: str
    get: Callable[[int], np.ndarray]


def originals(stored: Stored, variants: tuple[VariantFacts, ...]) -> Originals | None:
    """The best way to the originals: ``full``, else an exact pair, else the pair of PNG that was clipped least.

    Returns:
        None where the output has no two parts of one rank or radius.
    """
    if any(variant.name == FULL for variant in variants):
        return Originals(f"the variant {FULL}", lambda at: stored.pixels(FULL, at))
    pairs = [
        (low, high)
        for low in variants
        for high in variants
        if (low.cut.component, high.cut.component) in (("low", "high"), ("lowpass", "highpass"))
        and replace(low.cut, component="") == replace(high.cut, component="")
    ]
    if not pairs:
        return None
    low, high = min(pairs, key=lambda pair: (pair[0].clipped or 0) + (pair[1].clipped or 0))

    def joined(at: int) -> np.ndarray:
        whole = stored.grey(low.name, at).astype(np.float64) + stored.grey(high.name, at) - OFFSET
        original: np.ndarray = np.clip(np.rint(whole), 0, 255).astype(np.uint8)
        return original

    how = f"{low.name} + {high.name}"
    return Originals(f"{how}, exact save where either was clipped" if low.clipped or high.clipped else how, joined)
