"""The cuts of images: from decomposed planes to the pixels that are stored, and what is counted of them."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics import fourier, rounding, svd
from pipeline.numerics.svd import Array
from pipeline.numerics.variants import OFFSET, Variant, variants

# Sums over float32 images are kept as whole multiples of this, so that they add up the same in any order.
FINE = 2.0**-16


@dataclass(frozen=True)
class Statistics:
    """What is counted of one variant; adds up over batches and shards.

    Attributes:
        clipped: subpixels that left 0..255 and were clipped.
        ties, degenerate, deficient, recomputed: see ``svd.Truncation``; a band adds up those of its two ends.
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

    With R = rint(255 A_k), or rint(255 F_r) of the frequencies up to r, the pixels of ``low`` and ``lowpass`` are
    clip(R, 0, 255), those of ``high`` and ``highpass`` clip(X - R + 128, 0, 255); a ``band`` of ranks a to b is
    clip(R_b - R_a + 128, 0, 255). Where none clips, low + high - 128 is the image. Exact ones are A_k, X / 255 - A_k and
    A_b - A_a, of no offset. An image whose smaller side is no more than k is its own low-rank image.

    Args:
        pixels: uint8 (n, c, h, w), all channels or some.
        decomposed: of ``pixels`` as (n c, h, w) planes; may be None where only ``full`` is wanted.
        wanted: variants.
    """
    cuts: dict[Variant, Cut] = {}
    ends: dict[int, svd.Truncation] = {}  # of the bands that begin at a rank
    below = {variant.above for variant in wanted if variant.above}
    for rank in sorted(below | {variant.rank for variant in wanted if variant.rank}):
        assert decomposed is not None
        whole = rank >= min(pixels.shape[2:])
        kept = svd.untouched(decomposed, xp) if whole else svd.truncate(decomposed, rank, xp)
        for variant in (v for v in wanted if v.rank == rank):
            cuts[variant] = _stored(variant, pixels, kept, ends.get(variant.above), xp)
        if rank in below:
            ends[rank] = kept
    for radius in sorted({variant.radius for variant in wanted if variant.radius}):
        assert decomposed is not None
        kept = fourier.lowpass(decomposed.planes, radius, xp)
        for variant in (v for v in wanted if v.radius == radius):
            cuts[variant] = _stored(variant, pixels, kept, None, xp)
    if Variant("full") in wanted:
        sums, squares, _ = _moments(pixels, 0, xp)
        cuts[Variant("full")] = Cut(pixels, Statistics(sums=sums, squares=squares))
    return {variant: cuts[variant] for variant in wanted}


def _stored(variant: Variant, pixels: Array, kept: svd.Truncation, below: svd.Truncation | None, xp: ModuleType) -> Cut:
    """One variant from what it keeps or removes, and from the lower end of a band."""
    counted = Statistics(0, *kept.counts) + (Statistics(0, *below.counts) if below else Statistics())
    if variant.exact:
        planes = kept.planes.reshape(pixels.shape)
        if variant.signed:
            planes = planes - below.planes.reshape(pixels.shape) if below else pixels - planes
        exact = (planes / 255).astype(xp.float32)
        sums, squares = _fine_moments(exact, xp)
        return Cut(exact, replace(counted, sums=sums, squares=squares))
    rounded = kept.rounded.reshape(pixels.shape)
    if below:
        stored, clipped = rounding.difference(rounded, below.rounded.reshape(pixels.shape), OFFSET, xp)
    elif variant.signed:
        stored, clipped = rounding.difference(pixels, rounded, OFFSET, xp)
    else:
        stored, clipped = rounding.low(rounded, xp)
    sums, squares, changed = _moments(stored, clipped, xp)
    return Cut(stored, replace(counted, clipped=changed, sums=sums, squares=squares))


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


def _fine_moments(stored: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Per-channel sum and sum of squares of float32 images, grey levels, in units of ``FINE``.

    Each plane's sum becomes a whole number by itself, so that the total does not depend on batches.
    """
    planes = stored.reshape(*stored.shape[:2], -1).astype(xp.float64) * 255
    totals = [xp.rint(array.sum(axis=2) / FINE).astype(xp.int64).sum(axis=0) for array in (planes, planes * planes)]
    first, second = svd.to_host(xp.stack(totals)).tolist()
    return tuple(first), tuple(second)


def _moments(stored: Array, clipped: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Per-channel sum and sum of squares of uint8 (n, c, h, w) pixels, and ``clipped``: a card is waited for once."""
    count, channels, height, width = stored.shape
    found = xp.stack(rounding.moments(stored.reshape(-1, height, width), xp)).reshape(2, count, channels).sum(axis=1)
    numbers = svd.to_host(xp.concatenate([found.reshape(-1), xp.asarray(clipped).reshape(1)])).tolist()
    return tuple(numbers[:channels]), tuple(numbers[channels:-1]), numbers[-1]


def rehearse() -> None:
    """Cut a small and a large image, so that what is compiled has been loaded before work is timed."""
    wanted = variants((1,), ("low", "high"), bands=((1, 2),))
    for side in (2, svd.LARGE):
        pixels = np.arange(side * side, dtype=np.uint8).reshape(1, 1, side, side)
        cut(pixels, svd.decompose(pixels[0], 2), wanted)
