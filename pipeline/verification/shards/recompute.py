"""Recomputes sampled images of a shard from their originals: every cut, the singular values and the factors."""

import numpy as np

from pipeline.errors import Undecodable
from pipeline.sources.images import MAX_BYTES
from pipeline.sources.index import Entry, Source
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.reference import wrong_factors
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import Faults, printable
from pipeline.verification.listings import Sample, key_of
from pipeline.verification.manifest.claims import (
    FACTORS,
    FACTORS_ROUNDING,
    REJECTS,
    SPECTRA,
    Manifest,
    samples_file,
)
from pipeline.verification.parts import ShardWork
from pipeline.verification.shards.batch import Batch, BatchVerifier, Comparison
from pipeline.verification.shards.shard_faults import ShardFaults


class Recomputer:
    """Verifies batches of a shard, and compares the images to recompute with the float64 reference.

    Args:
        rows: float32 (n, 3, side), the shard's rows of singular values; None if they cannot be read.
        source: the source of the originals, if it is given.
    """

    def __init__(
        self, manifest: Manifest, work: ShardWork, rows: np.ndarray | None, source: Source | None, faults: ShardFaults
    ) -> None:
        self._manifest, self._work, self._rows, self._source, self._faults = manifest, work, rows, source, faults

    def verify(self, batch: Batch) -> Comparison:
        """Reports what is wrong with a batch."""
        originals, split = {}, self._work.shard.split
        for i, sample in enumerate(batch.samples):
            entry = self._work.recomputed.get(sample.position)
            readable = any(valid[i] for valid in batch.valid.values())  # if none is, the size is unknown
            if entry is not None and readable and (original := self._original(sample, entry, batch.shape)) is not None:
                originals[sample.position] = original
        verifier = BatchVerifier(self._manifest, batch, originals, self._faults)
        comparison = verifier.verify(self._work.recomputed.keys())
        for i, values in comparison.values.items():
            sample = batch.samples[i]
            row = None if self._rows is None else self._rows[sample.position - self._work.shard.start]
            if row is not None and (problem := spectra.compare_row(row, values)):
                self._faults.add(f"{SPECTRA}/{split}", f"{sample.key}: row {sample.position}: {problem}")
            if problem := self._wrong_factors(sample.position, verifier.image(i)):
                self._faults.add(f"{FACTORS}/{split}", f"{sample.key}: row {sample.position}: {problem}")
        return comparison

    def _original(self, sample: Sample, entry: Entry, shape: tuple[int, int]) -> np.ndarray | None:
        """Returns the source's image, uint8 (h, w, 3); None if it cannot be read or has not the size of the variants."""
        assert self._source is not None
        listed = samples_file(self._work.shard.split)
        try:
            pixels = self._source.decode(self._source.read(entry)).pixels
        except (OSError, Undecodable) as error:
            self._faults.add(listed, f"{sample.key}: not readable in the source: {printable(error)}")
            return None
        image = self._manifest.geometry.apply(pixels).transpose(1, 2, 0)
        if image.shape != (*shape, 3):
            self._faults.add(listed, f"{sample.key}: of another size in the source")
            return None
        return image

    def _wrong_factors(self, position: int, image: np.ndarray) -> str:
        claim = self._manifest.factors
        if claim is None:
            return ""
        try:
            row = spectra.factors_row(self._manifest, claim, self._work.shard.split, position)
        except BadRows as error:
            self._faults.add_unreadable(error)
            return ""
        return wrong_factors(image, row, FACTORS_ROUNDING[claim.dtype])


def try_rejects(manifest: Manifest, work: ShardWork, source: Source, faults: Faults) -> None:
    """Reports rejects whose image the source can give: a sample may have been left out under the name of a reject."""
    for entry in work.unreadable:
        if entry.size > MAX_BYTES:
            continue
        try:
            manifest.geometry.apply(source.decode(source.read(entry)).pixels)
        except (OSError, MemoryError, Undecodable):
            continue
        faults.add(REJECTS, f"{key_of(work.shard.split, entry.index)}: no reject, its image can be read in the source")
