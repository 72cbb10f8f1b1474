"""Which cuts of an image exist, what they are called, and how they become bytes."""

import re
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline import pixelwise, svd
from pipeline.svd import Array

COMPONENTS = ("low", "high", "full")
# High-rank-only images are signed; they are stored with this offset, the same for every image (grey levels).
OFFSET = 128
# What a float32 variant's name ends in.
EXACT = "-exact"
# Sums over float32 images are kept as whole multiples of this, so that they add up the same in any order.
FINE = 2.0**-16


@dataclass(frozen=True)
class Variant:
    """One cut: ``low`` or ``high`` at a rank, or the untouched image (``full``, rank 0).

    Attributes:
        exact: kept as float32, neither rounded nor clipped, instead of as PNG.
    """

    component: str
    rank: int = 0
    exact: bool = False

    @property
    def name(self) -> str:
        prefix = {"low": "rank", "high": "highrank", "full": "full"}[self.component]
        return (f"{prefix}{self.rank}" if self.rank else prefix) + EXACT * self.exact

    @property
    def form(self) -> str:
        """Of its image members, and their suffix in a shard."""
        return "npy" if self.exact else "png"

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """The inverse of ``name``. Raises ValueError."""
        match = re.fullmatch(rf"(?:(rank|highrank)([1-9][0-9]*)({EXACT})?|full)", name)
        if not match:
            raise ValueError(f"{name!r} is no variant")
        if match[1] is None:
            return cls("full")
        return cls("low" if match[1] == "rank" else "high", int(match[2]), match[3] is not None)


def variants(ranks: tuple[int, ...], components: tuple[str, ...], exact: bool = False) -> tuple[Variant, ...]:
    """Every component at every rank, also as float32 where ``exact``, in their canonical order."""
    cuts = [Variant(c, rank, e) for c in components if c != "full" for rank in ranks for e in {False, exact}]
    return canonical(cuts + [Variant("full")] * ("full" in components))


def canonical(cuts: list[Variant]) -> tuple[Variant, ...]:
    """Distinct variants in the order of every list in an output: low by rank, high by rank, full, exact ones last."""
    return tuple(sorted(set(cuts), key=lambda v: (v.exact, COMPONENTS.index(v.component), v.rank)))


@dataclass(frozen=True)
class Statistics:
    """What is counted of one variant; adds up over batches and shards.

    Attributes:
        clipped: subpixels that left 0..255 and were clipped.
        ties, degenerate, deficient, recomputed: see ``svd.Truncation``.
        sums: sum over pixels of each channel's stored grey level, in units of ``FINE`` for exact variants.
        squares: the same of its square; with ``sums``, mean and deviation.
    """

    clipped: int = 0
    ties: int = 0
    degenerate: int = 0
    deficient: int = 0
    recomputed: int = 0
    sums: tuple[int, ...] = (0, 0, 0)  # of one channel only, in the cuts of one
    squares: tuple[int, ...] = (0, 0, 0)

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(*map(_plus, vars(self).values(), vars(other).values()))


def _plus(mine: Any, theirs: Any) -> Any:
    return tuple(a + b for a, b in zip(mine, theirs, strict=True)) if isinstance(mine, tuple) else mine + theirs


class Cut(NamedTuple):
    """One variant of a batch: (n, 3, h, w) pixels as stored, uint8 grey levels, or float32 in [0, 1] units where exact,
    and their statistics."""

    pixels: Array
    statistics: Statistics


def cut(
    pixels: Array, decomposed: svd.Decomposition | None, wanted: tuple[Variant, ...], xp: ModuleType = np
) -> dict[Variant, Cut]:
    """All wanted variants of a batch from its one decomposition.

    Low-rank pixels are clip(R, 0, 255) with R = rint(255 A_k); high-rank-only pixels are clip(X - R + 128, 0, 255).
    Where neither clips, low + high - 128 is the image. Exact ones are A_k and X / 255 - A_k, of no offset. An image whose
    smaller side is no more than k is its own low-rank image.

    Args:
        pixels: uint8 (n, c, h, w), all channels or some.
        decomposed: of ``pixels`` as (n c, h, w) planes; may be None where only ``full`` is wanted.
        wanted: variants.
    """
    cuts: dict[Variant, Cut] = {}
    for rank in sorted({v.rank for v in wanted if v.rank}):
        assert decomposed is not None
        whole = rank >= min(pixels.shape[2:])
        truncation = svd.untouched(decomposed, xp) if whole else svd.truncate(decomposed, rank, xp)
        rounded = truncation.rounded.reshape(pixels.shape)
        counts = (truncation.ties, truncation.degenerate, truncation.deficient, truncation.recomputed)
        for variant in (v for v in wanted if v.rank == rank):
            if variant.exact:
                stored = _exact(pixels, truncation, variant, xp)
                cuts[variant] = Cut(stored, Statistics(0, *counts, *_fine_moments(stored, xp)))
                continue
            low = variant.component == "low"
            stored, clipped = pixelwise.low(rounded, xp) if low else pixelwise.high(pixels, rounded, OFFSET, xp)
            cuts[variant] = Cut(stored, Statistics(clipped, *counts, *_moments(stored, xp)))
    if Variant("full") in wanted:
        sums, squares = _moments(pixels, xp)
        cuts[Variant("full")] = Cut(pixels, Statistics(sums=sums, squares=squares))
    return {variant: cuts[variant] for variant in wanted}


def join(channels: list[dict[Variant, Cut]]) -> dict[Variant, Cut]:
    """The cuts of whole images from those of their channels, in their order, which are taken away: these are large."""
    joined = {}
    for variant in list(channels[0]):
        parts = [cuts.pop(variant) for cuts in channels]
        statistics = [part.statistics for part in parts]
        total = sum((replace(one, sums=(0, 0, 0), squares=(0, 0, 0)) for one in statistics), Statistics())
        sums = tuple(value for one in statistics for value in one.sums)
        squares = tuple(value for one in statistics for value in one.squares)
        pixels = np.concatenate([part.pixels for part in parts], axis=1)
        joined[variant] = Cut(pixels, replace(total, sums=sums, squares=squares))
    return joined


def _exact(pixels: Array, truncation: svd.Truncation, variant: Variant, xp: ModuleType) -> Array:
    """float32 (n, 3, h, w): A_k, or X / 255 - A_k."""
    low = truncation.planes.reshape(pixels.shape)
    return ((low if variant.component == "low" else pixels - low) / 255).astype(xp.float32)


def _fine_moments(stored: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Per-channel sum and sum of squares of float32 images, grey levels, in units of ``FINE``.

    Each plane's sum becomes a whole number by itself, so that the total does not depend on batches.
    """
    planes = stored.reshape(*stored.shape[:2], -1).astype(xp.float64) * 255
    sums = (xp.rint(array.sum(axis=2) / FINE).astype(xp.int64).sum(axis=0) for array in (planes, planes * planes))
    first, second = (tuple(int(value) for value in array) for array in sums)
    return first, second


def _moments(stored: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Per-channel sum and sum of squares of uint8 (n, c, h, w) pixels."""
    count, channels, height, width = stored.shape
    found = pixelwise.moments(stored.reshape(-1, height, width), xp)
    first, second = (tuple(int(v) for v in sums.reshape(count, channels).sum(axis=0)) for sums in found)
    return first, second


def rehearse() -> None:
    """Cut a small and a large image, so that what is compiled has been loaded before work is timed."""
    for side in (2, svd.LARGE):
        pixels = np.arange(side * side, dtype=np.uint8).reshape(1, 1, side, side)
        cut(pixels, svd.decompose(pixels[0], 1), variants((1,), ("low", "high")))
