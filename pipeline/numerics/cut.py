"""Cuts images: from decomposed planes to stored pixels, with their statistics."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import numpy as np

from pipeline.numerics import fourier, rounding, svd
from pipeline.numerics.statistics import FINE, Statistics
from pipeline.numerics.svd import Array
from pipeline.numerics.variants import OFFSET, Variant


class Cut(NamedTuple):
    """One variant of a batch.

    Attributes:
        pixels: (n, c, h, w) as stored: uint8 grey levels, or float32 in [0, 1] units for exact variants.
        statistics: of these pixels.
    """

    pixels: Array
    statistics: Statistics


def cut(
    pixels: Array, truncated: Callable[[int], svd.Truncation], requested: tuple[Variant, ...], xp: ModuleType = np
) -> dict[Variant, Cut]:
    """Computes several variants of a batch from its truncations.

    Let R = rint(255 A_k), or rint(255 F_r) of the frequencies up to r. The pixels of ``low`` and ``lowpass`` are
    clip(R, 0, 255), those of ``high`` and ``highpass`` clip(X - R + 128, 0, 255). A ``band`` of ranks a to b is
    clip(R_b - R_a + 128, 0, 255). Where neither clips, low + high - 128 is the image. Exact variants are A_k, X / 255 - A_k
    and A_b - A_a, without an offset. An image whose smaller side is at most k is its own low-rank image.

    Args:
        pixels: uint8 (n, c, h, w), all channels of the images or one of them.
        truncated: returns the truncations of ``pixels`` as (n c, h, w) planes at a rank (``svd.Solution``).
        requested: the variants; the result has their order.
        xp: the array namespace of ``pixels``.
    """
    planes = pixels.reshape(-1, *pixels.shape[2:])
    cuts: dict[Variant, Cut] = {}
    lower_ends: dict[int, svd.Truncation] = {}  # of bands, by rank
    lower_ranks = {variant.above for variant in requested if variant.above}
    for rank in sorted(lower_ranks | {variant.rank for variant in requested if variant.rank}):
        part = svd.untouched(planes, xp) if rank >= min(planes.shape[1:]) else truncated(rank)
        for variant in (v for v in requested if v.rank == rank):
            cuts[variant] = _stored(variant, pixels, part, lower_ends.get(variant.above), xp)
        if rank in lower_ranks:
            lower_ends[rank] = part
    for radius in sorted({variant.radius for variant in requested if variant.radius}):
        smooth = fourier.lowpass(planes.astype(xp.float64), radius, xp)
        for variant in (v for v in requested if v.radius == radius):
            cuts[variant] = _stored(variant, pixels, smooth, None, xp)
    if Variant("full") in requested:
        sums, squares, _ = _totals(rounding.Stored(planes, 0, *rounding.moments(planes, xp)), pixels.shape[1], xp)
        cuts[Variant("full")] = Cut(pixels, Statistics(sums=sums, squares=squares))
    return {variant: cuts[variant] for variant in requested}


def _stored(
    variant: Variant, pixels: Array, part: svd.Truncation, lower_end: svd.Truncation | None, xp: ModuleType
) -> Cut:
    """Returns one variant.

    Args:
        variant: any but ``full``.
        pixels: uint8 (n, c, h, w).
        part: the approximation that the variant keeps or removes; of a band, its upper end.
        lower_end: the lower end of a band, else None.
        xp: the array namespace.
    """
    counts = Statistics(0, *part.counts) + (Statistics(0, *lower_end.counts) if lower_end else Statistics())
    if variant.exact:
        planes = part.planes.reshape(pixels.shape)
        if variant.signed:
            planes = planes - lower_end.planes.reshape(pixels.shape) if lower_end else pixels - planes
        exact = (planes / 255).astype(xp.float32)
        sums, squares = _exact_moments(exact, xp)
        return Cut(exact, replace(counts, sums=sums, squares=squares))
    if lower_end:
        stored = rounding.difference(part.rounded, lower_end.rounded, OFFSET, xp)
    elif variant.signed:
        stored = rounding.difference(pixels.reshape(part.rounded.shape), part.rounded, OFFSET, xp)
    else:
        stored = rounding.clip(part.rounded, xp)
    sums, squares, clipped = _totals(stored, pixels.shape[1], xp)
    return Cut(stored.pixels.reshape(pixels.shape), replace(counts, clipped=clipped, sums=sums, squares=squares))


def join(channels: list[dict[Variant, Cut]]) -> dict[Variant, Cut]:
    """Joins the cuts of single channels into those of whole images.

    The dictionaries are emptied on the way, because the arrays are large.

    Args:
        channels: the cuts of each channel, in the order of the channels.
    """
    joined = {}
    for variant in list(channels[0]):
        parts = [cuts.pop(variant) for cuts in channels]
        statistics = [part.statistics for part in parts]
        total = sum((replace(each, sums=(0, 0, 0), squares=(0, 0, 0)) for each in statistics), Statistics())
        sums = tuple(value for each in statistics for value in each.sums)
        squares = tuple(value for each in statistics for value in each.squares)
        pixels = np.concatenate([part.pixels for part in parts], axis=1)
        joined[variant] = Cut(pixels, replace(total, sums=sums, squares=squares))
    return joined


def _exact_moments(stored: Array, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns each channel's sum, and sum of squares, of float32 images, as grey levels in units of ``FINE``.

    Each plane's sum becomes a whole number by itself, so that the total does not depend on the batch.
    """
    planes = stored.reshape(*stored.shape[:2], -1).astype(xp.float64) * 255
    totals = [xp.rint(array.sum(axis=2) / FINE).astype(xp.int64).sum(axis=0) for array in (planes, planes * planes)]
    sums, squares = svd.to_host(xp.stack(totals)).tolist()
    return tuple(sums), tuple(squares)


def _totals(stored: rounding.Stored, channels: int, xp: ModuleType) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Returns each channel's sum, and sum of squares, and the number of clipped pixels.

    All numbers come from the GPU in one transfer.
    """
    sums = xp.stack([stored.sums, stored.squares]).reshape(2, -1, channels).sum(axis=1)
    numbers = svd.to_host(xp.concatenate([sums.reshape(-1), xp.asarray(stored.clipped).reshape(1)])).tolist()
    return tuple(numbers[:channels]), tuple(numbers[channels:-1]), numbers[-1]
