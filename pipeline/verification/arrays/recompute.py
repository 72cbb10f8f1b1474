"""Images of a shard that are recomputed: their originals, every cut of them, singular values and factors."""

from collections.abc import Callable

import numpy as np

from pipeline.errors import Undecodable
from pipeline.sources.images import MAX_BYTES
from pipeline.sources.index import Entry, Source
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.reference import wrong_factors
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import Faults, shown
from pipeline.verification.listings import Sample, key_of
from pipeline.verification.manifest.claims import (
    FACTORS,
    FACTORS_ROUNDING,
    REJECTS,
    SPECTRA,
    Manifest,
    Variant,
    samples_file,
)
from pipeline.verification.part import Work
from pipeline.verification.shards.pixels import Batch, BatchProof, Compared


class Recomputer:
    """Holds batches of a shard against the law, and those images that are to be recomputed against the reference.

    Args:
        rows: float32 (n, 3, side), the shard's rows of singular values; None where they cannot be read.
        source: where the originals are read from, if it is at hand.
        suspects: gives those of some variants whose shard is not the claimed one.
        say: takes a fault of a variant; those of other files go to ``faults``.
        unread: takes rows that cannot be read.
    """

    def __init__(
        self,
        manifest: Manifest,
        work: Work,
        rows: np.ndarray | None,
        source: Source | None,
        suspects: Callable[[list[Variant]], list[Variant]],
        say: Callable[[Variant, str], None],
        faults: Faults,
        unread: Callable[[BadRows], None],
    ) -> None:
        self._manifest, self._work, self._rows, self._source = manifest, work, rows, source
        self._suspects, self._say, self._faults, self._unread = suspects, say, faults, unread

    def prove(self, batch: Batch) -> Compared:
        """Report what does not hold of a batch."""
        originals, split = {}, self._work.shard.split
        for sample in batch.samples:
            entry = self._work.recomputed.get(sample.position)
            if entry is not None and (original := self._original(sample, entry, batch.shape)) is not None:
                originals[sample.position] = original
        proof = BatchProof(self._manifest, batch, originals, self._suspects, self._say)
        compared = proof.run(self._work.recomputed.keys())
        for i, values in compared.values.items():
            sample = batch.samples[i]
            row = None if self._rows is None else self._rows[sample.position - self._work.shard.start]
            if row is not None and (problem := spectra.compare_row(row, values)):
                self._faults.add(f"{SPECTRA}/{split}", f"{sample.key}: row {sample.position}: {problem}")
            if problem := self._wrong_factors(sample.position, proof.image(i)):
                self._faults.add(f"{FACTORS}/{split}", f"{sample.key}: row {sample.position}: {problem}")
        return compared

    def _original(self, sample: Sample, entry: Entry, shape: tuple[int, int]) -> np.ndarray | None:
        """The source's image, uint8 (h, w, 3), of the size that the variants have."""
        assert self._source is not None
        listed = samples_file(self._work.shard.split)
        try:
            pixels = self._source.decode(self._source.read(entry)).pixels
        except (OSError, Undecodable) as error:
            self._faults.add(listed, f"{sample.key}: not readable in the source: {shown(error)}")
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
            self._unread(error)
            return ""
        return wrong_factors(image, row, FACTORS_ROUNDING[claim.dtype])


def try_rejects(manifest: Manifest, work: Work, source: Source, faults: Faults) -> None:
    """Images that the source can give are no rejects: a sample may have been left out under that name."""
    for entry in work.unreadable:
        if entry.size > MAX_BYTES:
            continue
        try:
            manifest.geometry.apply(source.decode(source.read(entry)).pixels)
        except (OSError, MemoryError, Undecodable):
            continue
        faults.add(REJECTS, f"{key_of(work.shard.split, entry.index)}: no reject, its image can be read in the source")
