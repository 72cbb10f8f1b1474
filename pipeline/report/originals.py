"""Recovers the original image of a sample from the variants of an output."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.numerics.variants import OFFSET
from pipeline.report.page.facts import VariantFacts
from pipeline.report.stored import Stored

FULL = "full"


@dataclass(frozen=True)
class Originals:
    """Access to original images.

    Attributes:
        how: in words, where the images come from.
        get: returns uint8 (h, w, 3) for a position in the split.
    """

    how: str
    get: Callable[[int], np.ndarray]


def originals(stored: Stored, variants: tuple[VariantFacts, ...]) -> Originals | None:
    """Returns the best access to original images: ``full``, else a pair of exact variants, else the least clipped pair.

    Returns:
        None if the output has neither ``full`` nor both parts of a rank or radius.
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
    return Originals(f"{how}, exact except for clipped subpixels" if low.clipped or high.clipped else how, joined)
