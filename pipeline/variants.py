"""Which cuts of an image exist, what they are called, and how they become bytes."""

import re
from dataclasses import astuple, dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline import svd
from pipeline.svd import Array

COMPONENTS = ("low", "high", "full")
# High-rank-only images are signed; they are stored with this offset, the same for every image (grey levels).
OFFSET = 128


@dataclass(frozen=True)
class Variant:
    """One cut: ``low`` or ``high`` at a rank, or the untouched image (``full``, rank 0)."""

    component: str
    rank: int = 0

    @property
    def name(self) -> str:
        prefix = {"low": "rank", "high": "highrank", "full": "full"}[self.component]
        return f"{prefix}{self.rank}" if self.rank else prefix

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """The inverse of ``name``. Raises ValueError."""
        match = re.fullmatch(r"(?:(rank|highrank)([1-9][0-9]*)|full)", name)
        if not match:
            raise ValueError(f"{name!r} is no variant")
        if match[1] is None:
            return cls("full")
        return cls("low" if match[1] == "rank" else "high", int(match[2]))


def variants(ranks: tuple[int, ...], components: tuple[str, ...]) -> tuple[Variant, ...]:
    """Every component at every rank, in their canonical order."""
    cuts = [Variant(c, rank) for c in components if c != "full" for rank in ranks]
    return canonical(cuts + [Variant("full")] * ("full" in components))


def canonical(cuts: list[Variant]) -> tuple[Variant, ...]:
    """Distinct variants in the order of every list in an output: low by rank, high by rank, full."""
    return tuple(sorted(set(cuts), key=lambda v: (COMPONENTS.index(v.component), v.rank)))


@dataclass(frozen=True)
class Statistics:
    """What is counted of one variant; adds up over batches and shards.

    Attributes:
        clipped: subpixels that left 0..255 and were clipped.
        ties, degenerate, deficient, recomputed: see ``svd.Truncation``.
        sums: sum over pixels of each channel's stored grey level.
        squares: the same of its square; with ``sums``, exact mean and deviation.
    """

    clipped: int = 0
    ties: int = 0
    degenerate: int = 0
    deficient: int = 0
    recomputed: int = 0
    sums: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)

    def __add__(self, other: "Statistics") -> "Statistics":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Statistics(*(_plus(mine, theirs) for mine, theirs in pairs))


def _plus(mine: Any, theirs: Any) -> Any:
    return tuple(a + b for a, b in zip(mine, theirs, strict=True)) if isinstance(mine, tuple) else mine + theirs


class Cut(NamedTuple):
    """One variant of a batch: uint8 (n, 3, h, w) pixels as stored, and their statistics."""

    pixels: Array
    statistics: Statistics


def cut(
    pixels: Array, decomposed: svd.Decomposition | None, wanted: tuple[Variant, ...], xp: ModuleType = np
) -> dict[Variant, Cut]:
    """All wanted variants of a batch from its one decomposition.

    Low-rank pixels are clip(R, 0, 255) with R = rint(255 A_k); high-rank-only pixels are clip(X - R + 128, 0, 255).
    Where neither clips, low + high - 128 is the image.

    Args:
        pixels: uint8 (n, 3, h, w).
        decomposed: of ``pixels`` as (3 n, h, w) planes; may be None where only ``full`` is wanted.
        wanted: variants.
    """
    cuts: dict[Variant, Cut] = {}
    # A grey level of A_k is at most 255 sqrt(min(h, w)) in size, which fits int16 up to sources.index.MAX_SIDE.
    signed = pixels.astype(xp.int16)
    for rank in sorted({v.rank for v in wanted if v.rank}):
        assert decomposed is not None
        truncation = svd.truncate(decomposed, rank, xp)
        rounded = truncation.rounded.astype(xp.int16).reshape(pixels.shape)
        counts = (truncation.ties, truncation.degenerate, truncation.deficient, truncation.recomputed)
        for variant in (v for v in wanted if v.rank == rank):
            exact = rounded if variant.component == "low" else signed - rounded + OFFSET
            clipped = xp.clip(exact, 0, 255)
            stored = clipped.astype(xp.uint8)
            cuts[variant] = Cut(
                stored, Statistics(int(xp.count_nonzero(clipped != exact)), *counts, *_moments(stored, xp))
            )
    if Variant("full") in wanted:
        sums, squares = _moments(pixels, xp)
        cuts[Variant("full")] = Cut(pixels, Statistics(sums=sums, squares=squares))
    return {variant: cuts[variant] for variant in wanted}


def _moments(stored: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Per-channel sum and sum of squares of uint8 pixels; uint32 holds those of one plane up to 256 x 256."""
    planes = stored.reshape(*stored.shape[:2], -1)
    plane_sum = xp.uint32 if planes.shape[2] <= 1 << 16 else xp.uint64
    squares = xp.multiply(planes, planes, dtype=xp.uint16)
    sums = (array.sum(axis=2, dtype=plane_sum).sum(axis=0, dtype=xp.uint64) for array in (planes, squares))
    first, second = (tuple(int(value) for value in array) for array in sums)
    return first, second
