"""One shard in all its variants: its files, members, labels and singular values. Its pixels: ``pixels.py``."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from pipeline.errors import Undecodable
from pipeline.proof import spectra
from pipeline.proof.faults import Faults, shown
from pipeline.proof.files import ABSENT, EDITED, INTACT, TORN, open_regular, state_of
from pipeline.proof.image import BadImage, decode, size_of
from pipeline.proof.manifest import (
    FACTORS,
    FACTORS_ALLOWED,
    NAME,
    SPECTRA,
    Manifest,
    ShardSet,
    Variant,
    index_file,
    samples_file,
)
from pipeline.proof.moments import Moments, moments_of
from pipeline.proof.pixels import Batch, BatchProof
from pipeline.proof.reference import Counts, wrong_factors
from pipeline.proof.samples import BadLine, Sample, read_samples
from pipeline.proof.walk import Found, walk
from pipeline.sources.index import Entry, Source

_BATCH_PIXELS = 1 << 17  # of all images of a batch in one variant


@dataclass(frozen=True)
class Work:
    """One shard's proof, as it travels to a worker.

    Attributes:
        offset: where its lines begin in the samples file; None where that cannot be used: only files are checked.
        rejects: its output positions that have no sample.
        listed: the samples file is the one that the manifest claims.
        recomputed: the output positions that are recomputed, with their entries in the source where it is at hand.
    """

    shard: ShardSet
    offset: int | None
    rejects: frozenset[int]
    listed: bool
    recomputed: Mapping[int, Entry | None]


@dataclass
class Result:
    """What was found of a shard.

    Attributes:
        bytes: of the files that are as claimed.
        samples: that it must hold.
        fitted, paired: pairs of low and high held against the image, and against the other ranks only.
        recomputed: images; ``counts`` is of these.
        moments: of every variant and split.
    """

    faults: Faults = field(default_factory=Faults)
    bytes: int = 0
    samples: int = 0
    fitted: int = 0
    paired: int = 0
    recomputed: int = 0
    counts: Counts = field(default_factory=Counts)
    moments: dict[tuple[Variant, str], Moments] = field(default_factory=dict)

    def add(self, other: "Result") -> None:
        self.faults.extend(other.faults)
        self.bytes += other.bytes
        self.samples += other.samples
        self.fitted += other.fitted
        self.paired += other.paired
        self.recomputed += other.recomputed
        self.counts = self.counts.plus(other.counts)
        for of, more in other.moments.items():
            self.moments[of] = self.moments[of].plus(more) if of in self.moments else more


@dataclass
class Tar:
    """One variant of the shard at work.

    Attributes:
        state, problem: as ``state_of`` gives them.
        clean: reading it has shown no fault so far.
        lines: what its DALI index must say of each sample.
    """

    name: str
    state: str
    problem: str
    clean: bool = True
    lines: list[str] = field(default_factory=list)


class ShardProof:
    """Proves one shard.

    Args:
        owners: the claimed files by their SHA-256.
        source: where the originals are read from, if it is at hand.
    """

    def __init__(self, manifest: Manifest, owners: Mapping[str, str], work: Work, source: Source | None) -> None:
        self._manifest, self._owners, self._work, self._source = manifest, owners, work, source
        self._shard, self._result = work.shard, Result()
        self._faults = self._result.faults
        self._said: set[str] = set()

    def run(self) -> Result:
        """All that can be said of the shard; memory does not grow with its pixels."""
        self._tars = {
            v: Tar(self._shard.tars[v.name], *self._state(self._shard.tars[v.name])) for v in self._manifest.variants
        }
        indexes = {variant: self._state(index_file(tar.name)) for variant, tar in self._tars.items()}
        for tar in self._tars.values():
            if tar.state in (TORN, ABSENT):
                self._faults.add(tar.name, tar.problem)
        expected = self._expected()
        if expected is not None:
            self._result.samples = len(expected)
            self._prove_samples(expected, self._spectra(expected))
        for tar in self._tars.values():
            if tar.state == EDITED and (tar.clean or expected is None):
                reads = "" if expected is None else ", but every sample reads well"
                self._faults.add(tar.name, tar.problem + reads)
        for variant, (state, problem) in indexes.items():
            self._prove_index(self._tars[variant], state, problem, readable=expected is not None)
        return self._result

    def _state(self, name: str) -> tuple[str, str]:
        claim = self._manifest.files.get(name)
        if claim is None:  # which is a fault of the manifest, and reported
            return INTACT, ""
        state, problem = state_of(self._manifest.root, name, claim, self._owners)
        self._result.bytes += claim.size * (state == INTACT)
        return state, problem

    def _expected(self) -> list[Sample] | None:
        """The samples that it must hold; None where they cannot be told."""
        work, shard = self._work, self._shard
        if work.offset is None:
            return None
        path = self._manifest.root / samples_file(shard.split)
        try:
            every = read_samples(path, work.offset, shard.split, shard.start, shard.stop)
        except (BadLine, OSError) as error:
            self._faults.add(samples_file(shard.split), f"changed while it was being proven: {shown(error)}")
            return None
        expected = [sample for sample in every if sample.position not in work.rejects]
        for variant, claimed in shard.samples.items():
            if claimed != len(expected):
                self._faults.add(NAME, f"{shard.tars[variant]} has {claimed} samples there, {len(expected)} are listed")
        return expected

    def _spectra(self, expected: list[Sample]) -> np.ndarray | None:
        """The shard's rows of singular values, which must have the right form."""
        try:
            rows = spectra.rows(self._manifest, self._shard)
        except spectra.SpectraError as error:
            self._faults.add(f"{SPECTRA}/{self._shard.split}", str(error))
            return None
        spectra.check_rows(self._manifest, rows, self._shard, expected, self._faults)
        return rows

    def _prove_samples(self, expected: list[Sample], rows: np.ndarray | None) -> None:
        shape = self._manifest.shape
        size = max(1, _BATCH_PIXELS // (shape[0] * shape[1])) if shape else 1
        with contextlib.ExitStack() as stack:
            walks: dict[Variant, Iterator[Found | None]] = {}
            for variant, tar in self._tars.items():
                if tar.state != ABSENT:
                    try:
                        file = stack.enter_context(open_regular(self._manifest.root / tar.name))
                    except OSError as error:
                        self._say(variant, f"cannot be read: {error.strerror}")
                        continue
                    walks[variant] = walk(file, expected, shape, variant.form, partial(self._say, variant))
            for start in range(0, len(expected), size):
                samples = expected[start : start + size]
                some = {variant: list(islice(found, len(samples))) for variant, found in walks.items()}
                batch = Batch(samples, shape or self._shape_of(some), {}, {})
                for variant, found in some.items():
                    batch.pixels[variant], batch.valid[variant] = self._decode(variant, batch, found)
                self._prove_batch(batch, rows)
            for walked in walks.values():
                next(walked, None)  # it says now what is wrong with the rest

    def _shape_of(self, found: Mapping[Variant, list[Found | None]]) -> tuple[int, int]:
        """(height, width) of one image whose size the manifest does not tell: what the first variant has."""
        for variant, images in found.items():
            for image in images:
                with contextlib.suppress(BadImage):
                    return size_of(image.image if image else b"", variant.form)
        return 1, 1

    def _decode(self, variant: Variant, batch: Batch, found: list[Found | None]) -> tuple[np.ndarray, np.ndarray]:
        """(n, h, w, 3) pixels, uint8 or float32, and bool (n,): which of them there are."""
        images, valid = [], np.zeros(len(found), bool)
        blank = np.zeros((*batch.shape, 3), np.float32 if variant.form == "npy" else np.uint8)
        for i, (sample, one) in enumerate(zip(batch.samples, found, strict=True)):
            images.append(blank)
            if one is None:
                continue
            self._tars[variant].lines.append(one.index_line)
            try:
                images[i] = decode(one.image, batch.shape, variant.form)
                valid[i] = True
            except BadImage as error:
                self._say(variant, f"{sample.key}.{variant.form}: {error}")
        return np.stack(images), valid

    def _prove_batch(self, batch: Batch, rows: np.ndarray | None) -> None:
        for variant, pixels in batch.pixels.items():
            more = Result(moments={(variant, self._shard.split): moments_of(pixels[batch.valid[variant]])})
            self._result.add(more)
        originals = {}
        for sample in batch.samples:
            entry = self._work.recomputed.get(sample.position)
            if entry is not None and (original := self._original(sample, entry, batch.shape)) is not None:
                originals[sample.position] = original
        proof = BatchProof(self._manifest, batch, originals, self._suspects, self._say)
        proven = proof.run(self._work.recomputed.keys())
        result = self._result
        result.fitted += proven.fitted
        result.paired += proven.paired
        result.recomputed += len(proven.values)
        result.counts = result.counts.plus(proven.counts)
        for i, values in proven.values.items():
            sample = batch.samples[i]
            if rows is not None and (problem := spectra.compare_row(rows[sample.position - self._shard.start], values)):
                self._faults.add(f"{SPECTRA}/{self._shard.split}", f"{sample.key}: row {sample.position}: {problem}")
            if problem := self._wrong_factors(sample.position, proof.image(i)):
                self._faults.add(f"{FACTORS}/{self._shard.split}", f"{sample.key}: row {sample.position}: {problem}")

    def _original(self, sample: Sample, entry: Entry, shape: tuple[int, int]) -> np.ndarray | None:
        """The source's image, uint8 (h, w, 3), of the size that the variants have."""
        assert self._source is not None
        try:
            pixels = self._source.decode(self._source.read(entry)).pixels
        except (OSError, Undecodable) as error:
            self._faults.add(
                samples_file(self._shard.split), f"{sample.key}: not readable in the source: {shown(error)}"
            )
            return None
        image = self._manifest.geometry.apply(pixels).transpose(1, 2, 0)
        if image.shape != (*shape, 3):
            self._faults.add(samples_file(self._shard.split), f"{sample.key}: of another size in the source")
            return None
        return image

    def _wrong_factors(self, position: int, image: np.ndarray) -> str:
        claim = self._manifest.factors
        if claim is None:
            return ""
        try:
            row = spectra.factors_row(self._manifest, claim, self._shard.split, position)
        except spectra.SpectraError as error:
            return str(error)
        return wrong_factors(image, row, FACTORS_ALLOWED[claim.dtype])

    def _suspects(self, variants: list[Variant]) -> list[Variant]:
        return [variant for variant in variants if self._tars[variant].state != INTACT]

    def _say(self, variant: Variant, text: str) -> None:
        """A fault of a tar; of the samples file, where that has been changed and the tar has not."""
        tar = self._tars[variant]
        if tar.state == INTACT and not self._work.listed:
            if text not in self._said:  # the other variants say the same
                self._said.add(text)
                self._faults.add(samples_file(self._shard.split), f"disagrees with {tar.name}: {text}")
            return
        tar.clean = False
        self._faults.add(tar.name, text)

    def _prove_index(self, tar: Tar, state: str, problem: str, readable: bool) -> None:
        """Where the tar is as it should be, its DALI index must agree with it; otherwise only the hash can tell."""
        name = index_file(tar.name)
        wrong = ""
        if state != ABSENT and readable and tar.clean and tar.state == INTACT and self._work.listed:
            wrong = self._wrong_line(name, [f"v1.2 {len(tar.lines)}", *tar.lines])
        if state in (ABSENT, TORN) or (state == EDITED and not wrong):
            self._faults.add(name, problem)
        if wrong:
            self._faults.add(name, wrong)

    def _wrong_line(self, name: str, lines: list[str]) -> str:
        """The first line of an index that is not as it should be, or an empty string."""
        right = "".join(f"{line}\n" for line in lines).encode()
        try:
            with open_regular(self._manifest.root / name) as file:
                content = file.read(2 * len(right) + 1)
        except OSError:
            return ""
        if content == right:
            return ""
        found = content.decode("latin-1").split("\n")
        for number, line in enumerate(lines):
            if number >= len(found) or found[number] != line:
                has = ascii(shown(found[number])) if number < len(found) else "missing"
                return f"line {number + 1} is {has}, should be {line!r}"
        return "it goes on after its last sample"
