"""A batch of samples in all variants: the complement law, and the sampled images against the float64 reference."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.proof.law import Bounds
from pipeline.proof.manifest import OFFSET, Manifest, Variant
from pipeline.proof.reference import Counts, compare
from pipeline.proof.samples import Sample

CHANNELS = ("red", "green", "blue")
# Images that break the law are recomputed, so that it is told which of their parts is wrong; of a batch, this many.
_BLAMED = 4


class Batch(NamedTuple):
    """Some samples in every variant whose shard can be read.

    Attributes:
        pixels: uint8 (n, h, w, 3) by variant.
        valid: bool (n,) by variant, of which images there are pixels.
    """

    samples: list[Sample]
    pixels: dict[Variant, np.ndarray]
    valid: dict[Variant, np.ndarray]


class PixelResult(NamedTuple):
    """What was compared.

    Attributes:
        fitted, paired: pairs of low and high held against the image, and against the other ranks only.
        values: float64 (3, min(h, w)) reference singular values of the recomputed images, by place in the batch.
    """

    fitted: int
    paired: int
    values: dict[int, np.ndarray]
    counts: Counts


Report = Callable[[Variant, str], None]
Suspects = Callable[[list[Variant]], list[Variant]]


def prove_pixels(
    manifest: Manifest,
    batch: Batch,
    originals: Mapping[int, np.ndarray],
    recomputed: Collection[int],
    suspects: Suspects,
    report: Report,
) -> PixelResult:
    """Hold the variants of each image against each other and, where it is known, against the image.

    Args:
        originals: the source's uint8 (h, w, 3) images, by output position.
        recomputed: output positions to recompute.
        suspects: those of some variants whose shard is not the claimed one.
        report: takes a fault of a variant.
    """
    images, known = _images(manifest, batch, originals, report)
    blamed = []
    fitted = paired = 0
    pairs = _pairs(manifest, batch)
    bounds = Bounds(images, known)
    wrong_by_rank = {}
    for low, high in pairs:
        valid = batch.valid[low] & batch.valid[high]
        fitted += int(np.count_nonzero(valid & known))
        paired += int(np.count_nonzero(valid & ~known))
        wrong = bounds.broken(batch.pixels[low], batch.pixels[high], valid)
        if wrong.any():
            wrong_by_rank[low, high] = wrong
    broken = sorted({int(i) for wrong in wrong_by_rank.values() for i in np.flatnonzero(wrong.any(axis=(1, 2, 3)))})
    for i in broken:
        here = {pair: wrong[i] for pair, wrong in wrong_by_rank.items() if wrong[i].any()}
        if _accuse(manifest, batch, i, images[i] if known[i] else None, here, len(pairs), suspects, report):
            blamed.append(i)
    values, counts = {}, Counts()
    for i, sample in enumerate(batch.samples):
        if not known[i] or not (sample.position in recomputed or i in blamed[:_BLAMED]):
            continue
        cuts = {v: batch.pixels[v][i] for v in batch.pixels if v.component != "full" and batch.valid[v][i]}
        compared = compare(images[i], cuts)
        for variant, problem in compared.problems.items():
            report(variant, f"{sample.key}: {problem}")
        if sample.position in recomputed:
            values[i] = compared.values
            counts = counts.plus(compared.counts)
    return PixelResult(fitted, paired, values, counts)


def _images(
    manifest: Manifest, batch: Batch, originals: Mapping[int, np.ndarray], report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """The originals as far as they are known, from the full images and from the source: pixels, and of which."""
    full = manifest.of_component("full").get(0)
    places = {i: originals[sample.position] for i, sample in enumerate(batch.samples) if sample.position in originals}
    if full in batch.pixels:
        images, known = batch.pixels[full], batch.valid[full]
        if places:
            images, known = images.copy(), known.copy()
    else:
        images, known = np.zeros((len(batch.samples), *manifest.shape, 3), np.uint8), np.zeros(len(batch.samples), bool)
    for i, original in places.items():
        if known[i] and full and (images[i] != original).any():
            report(full, f"{batch.samples[i].key}: {_first(images[i] != original)} is not the source's")
        images[i], known[i] = original, True
    return images, known


def _pairs(manifest: Manifest, batch: Batch) -> list[tuple[Variant, Variant]]:
    """Low and high of every rank that has both."""
    high = manifest.of_component("high")
    both = [(low, high[rank]) for rank, low in manifest.of_component("low").items() if rank in high]
    return [pair for pair in both if pair[0] in batch.pixels and pair[1] in batch.pixels]


def _accuse(
    manifest: Manifest,
    batch: Batch,
    i: int,
    image: np.ndarray | None,
    wrong: Mapping[tuple[Variant, Variant], np.ndarray],
    ranks: int,
    suspects: Suspects,
    report: Report,
) -> bool:
    """Report an image that breaks the law, under the file that is most likely at fault.

    Returns:
        whether recomputing it can tell more: not where the full image itself is the suspect.
    """
    key, full = batch.samples[i].key, manifest.of_component("full").get(0)
    if (
        full in batch.pixels
        and (suspects([full]) or len(wrong) == ranks > 1)
        and not suspects([v for p in wrong for v in p])
    ):
        assert full is not None
        report(full, f"{key}: {_first(next(iter(wrong.values())))} does not fit the parts of any rank")
        return False
    for (low, high), where in wrong.items():
        row, column, channel = np.argwhere(where)[0]
        parts = (
            f"{batch.pixels[low][i, row, column, channel]} + {batch.pixels[high][i, row, column, channel]} - {OFFSET}"
        )
        if image is not None:
            fault = f"do not add up to the image: {parts}, not {image[row, column, channel]}"
        elif ranks > 1:
            fault = f"are of another image than the parts of other ranks: {parts}"
        else:
            fault = f"are parts of no image: {parts}"
        blamed = [*suspects([low, high]), low][0]
        report(blamed, f"{key}: {low.name} and {high.name} {fault} ({_first(where)})")
    return True


def _first(wrong: np.ndarray) -> str:
    """How many of (h, w, 3) subpixels, and where the first lies."""
    row, column, channel = np.argwhere(wrong)[0]
    where = f"row {row}, column {column}, {CHANNELS[channel]}"
    count = np.count_nonzero(wrong)
    return where if count == 1 else f"{count:,} subpixels, the first at {where},"
