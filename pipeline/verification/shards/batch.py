"""Compares the variants of a batch of samples: the complement law, bands, and sampled images with the float64 reference."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.verification.arrays.reference import CHANNELS, Counts, compare
from pipeline.verification.listings import Sample
from pipeline.verification.manifest.claims import OFFSET, Manifest, Variant
from pipeline.verification.shards.complement import Bounds
from pipeline.verification.shards.shard_faults import ShardFaults

# So many images of a batch that break the law are recomputed as well, to tell which of their parts is wrong.
_RECOMPUTED_TO_BLAME = 4
_EXACT = 1e-3  # grey levels that float32 parts may be off

Pair = tuple[Variant, Variant]  # low and high of one rank


class Batch(NamedTuple):
    """Consecutive samples in every variant whose shard can be read.

    Attributes:
        shape: (height, width), pixels.
        pixels: (n, h, w, 3) by variant: uint8, or float32 of an exact variant.
        valid: bool (n,) by variant: the images that could be decoded.
    """

    samples: list[Sample]
    shape: tuple[int, int]
    pixels: dict[Variant, np.ndarray]
    valid: dict[Variant, np.ndarray]


@dataclass
class Comparison:
    """What was compared in a batch.

    Attributes:
        fitted, paired: numbers of pairs of low and high images, as in ``Result``.
        values: float64 (3, min(h, w)) reference singular values of the recomputed images, by place in the batch.
    """

    fitted: int = 0
    paired: int = 0
    values: dict[int, np.ndarray] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)


class BatchVerifier:
    """Compares the variants of each image with each other and, where it is known, with the image.

    Args:
        originals: the source's uint8 (h, w, 3) images, by output position.
    """

    def __init__(
        self, manifest: Manifest, batch: Batch, originals: Mapping[int, np.ndarray], faults: ShardFaults
    ) -> None:
        self._batch, self._faults = batch, faults
        present = batch.pixels.keys()
        self._pairs, self._exact_pairs = (
            [pair for pair in manifest.pairs(form) if {*pair} <= present] for form in ("png", "npy")
        )
        self._bands = [band for band in manifest.bands() if {*band} <= present]
        self._full = manifest.full if manifest.full in present else None
        self._take_images(originals)

    def _take_images(self, originals: Mapping[int, np.ndarray]) -> None:
        """Collects the original images that are known, from the full images and from the source."""
        samples, full, shape = self._batch.samples, self._full, self._batch.shape
        if full is None:
            self._images, self._known = np.zeros((len(samples), *shape, 3), np.uint8), np.zeros(len(samples), bool)
        else:
            self._images, self._known = self._batch.pixels[full], self._batch.valid[full].copy()
        places = {i: originals[sample.position] for i, sample in enumerate(samples) if sample.position in originals}
        if places and full is not None:
            self._images = self._images.copy()
        for i, original in places.items():
            wrong = self._images[i] != original
            if full is not None and self._known[i] and wrong.any():
                self._faults.add_to(full, f"{samples[i].key}: {_describe(wrong)}: not the source's image")
            self._images[i], self._known[i] = original, True

    def verify(self, recomputed: Collection[int]) -> Comparison:
        """Reports every law that does not hold.

        Args:
            recomputed: output positions of the images to recompute, where they are known.
        """
        comparison = Comparison()
        self._add_up_exactly()
        self._compare_bands()
        unexplained = [i for i, wrong in self._broken(comparison).items() if self._blame(i, wrong)]
        for i, sample in enumerate(self._batch.samples):
            if self._known[i] and sample.position in recomputed:
                comparison.values[i], counts = self._recompute(i)
                comparison.counts = comparison.counts.plus(counts)
            elif self._known[i] and i in unexplained[:_RECOMPUTED_TO_BLAME]:
                self._recompute(i)
        return comparison

    def image(self, i: int) -> np.ndarray:
        """Returns the original at a place of the batch, uint8 (h, w, 3), where it is known."""
        image: np.ndarray = self._images[i]
        return image

    def _add_up_exactly(self) -> None:
        """Float32 parts add up to the image or, where it is not known, to an image of whole grey levels."""
        for low, high in self._exact_pairs:
            total = 255 * (self._batch.pixels[low].astype(np.float64) + self._batch.pixels[high])
            whole = np.where(self._known[:, None, None, None], self._images, np.clip(np.rint(total), 0, 255))
            wrong = np.abs(total - whole) > _EXACT
            for i in np.flatnonzero(wrong.any(axis=(1, 2, 3)) & self._batch.valid[low] & self._batch.valid[high]):
                blamed = [*self._faults.suspects([low, high]), low][0]
                key, where = self._batch.samples[i].key, _describe(wrong[i])
                self._faults.add_to(blamed, f"{key}: {low.name} and {high.name} do not add up to the image ({where})")

    def _compare_bands(self) -> None:
        """A band is the difference of the images at its two ends, where these are not clipped."""
        for parts in self._bands:
            band, more, less = (self._batch.pixels[part] for part in parts)
            unclipped = (more > 0) & (more < 255) & (less > 0) & (less < 255)
            difference = np.clip(more.astype(np.int16) - less + OFFSET, 0, 255)
            wrong = unclipped & (band != difference)
            valid = np.logical_and.reduce([self._batch.valid[part] for part in parts])
            for i in np.flatnonzero(wrong.any(axis=(1, 2, 3)) & valid):
                blamed = [*self._faults.suspects(list(parts)), parts[0]][0]
                ends, key = f"{parts[1].name} and {parts[2].name}", self._batch.samples[i].key
                text = f"{key}: {parts[0].name} is not the difference of {ends} ({_describe(wrong[i])})"
                self._faults.add_to(blamed, text)

    def _broken(self, comparison: Comparison) -> dict[int, dict[Pair, np.ndarray]]:
        """Returns the images that break the complement law: by place and pair, bool (h, w, 3)."""
        if not self._pairs:
            return {}
        bounds = Bounds(self._images, self._known)
        broken: dict[int, dict[Pair, np.ndarray]] = {}
        for pair in self._pairs:
            low, high = pair
            valid = self._batch.valid[low] & self._batch.valid[high]
            comparison.fitted += int(np.count_nonzero(valid & self._known))
            comparison.paired += int(np.count_nonzero(valid & ~self._known))
            wrong = bounds.broken(self._batch.pixels[low], self._batch.pixels[high], valid)
            for i in np.flatnonzero(wrong.any(axis=(1, 2, 3))).tolist():
                broken.setdefault(i, {})[pair] = wrong[i]
        return dict(sorted(broken.items()))

    def _blame(self, i: int, wrong: Mapping[Pair, np.ndarray]) -> bool:
        """Reports an image that breaks the law, under the file that is most likely at fault.

        Returns:
            whether recomputing the image can tell more: not where the full image itself is the suspect.
        """
        key = self._batch.samples[i].key
        suspects = self._faults.suspects([part for pair in wrong for part in pair])
        if self._full is not None and not suspects and (self._faults.suspects([self._full]) or self._agree(i)):
            text = f"{key}: {_describe(next(iter(wrong.values())))}: not the image of its parts"
            self._faults.add_to(self._full, text)
            return False
        for (low, high), where in wrong.items():
            row, column, channel = np.argwhere(where)[0]
            at = (i, row, column, channel)
            parts = f"{self._batch.pixels[low][at]} + {self._batch.pixels[high][at]} - {OFFSET}"
            if self._known[i]:
                fault = f"do not add up to the image: {parts}, not {self._images[at]}"
            elif len(self._pairs) > 1:
                fault = f"are of another image than the parts of other ranks: {parts}"
            else:
                fault = f"are parts of no image: {parts}"
            blamed = [*self._faults.suspects([low, high]), low][0]
            self._faults.add_to(blamed, f"{key}: {low.name} and {high.name} {fault} ({_describe(where)})")
        return True

    def _agree(self, i: int) -> bool:
        """Returns whether the parts of several ranks add up to one image, even if not to the known one."""
        here = slice(i, i + 1)
        bounds = Bounds(self._images[here], np.array([False]))
        pairs = [(low, high) for low, high in self._pairs if self._batch.valid[low][i] and self._batch.valid[high][i]]
        parts = [(self._batch.pixels[low][here], self._batch.pixels[high][here]) for low, high in pairs]
        return len(parts) > 1 and not any(bounds.broken(low, high, np.array([True])).any() for low, high in parts)

    def _recompute(self, i: int) -> tuple[np.ndarray, Counts]:
        """Compares every part of a known image with the reference; returns the reference's singular values."""
        batch = self._batch
        cuts = {v: pixels[i] for v, pixels in batch.pixels.items() if v.component != "full" and batch.valid[v][i]}
        compared = compare(self._images[i], cuts)
        for variant, problem in compared.problems.items():
            self._faults.add_to(variant, f"{batch.samples[i].key}: {problem}")
        return compared.values, compared.counts


def _describe(wrong: np.ndarray) -> str:
    """Returns how many of (h, w, 3) subpixels are wrong, and where the first is."""
    row, column, channel = np.argwhere(wrong)[0]
    where = f"row {row}, column {column}, {CHANNELS[channel]}"
    count = np.count_nonzero(wrong)
    return where if count == 1 else f"{count:,} subpixels, the first at {where}"
