"""One shard in all its variants: its files, members, labels and singular values. Its pixels: ``pixels.py``."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from pipeline.sources.index import Source
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.recompute import Recomputer
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import shown
from pipeline.verification.listings import Sample
from pipeline.verification.manifest.claims import NAME, Manifest, Variant, index_file, samples_file
from pipeline.verification.part import Result, Work
from pipeline.verification.shards.files import (
    ABSENT,
    EDITED,
    INTACT,
    LONG,
    SLACK,
    TORN,
    Owners,
    open_own,
    state_of,
    why,
)
from pipeline.verification.shards.image import BadImage, decode, size_of
from pipeline.verification.shards.moments import moments_of
from pipeline.verification.shards.pixels import Batch
from pipeline.verification.shards.tar_walk import Found, walk

_BATCH_PIXELS = 1 << 17  # of all images of a batch in one variant


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

    def __init__(self, manifest: Manifest, owners: Owners, work: Work, source: Source | None) -> None:
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
            if tar.state in (TORN, LONG, ABSENT):
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
            return ABSENT, "is not in the manifest, so it is not read"
        state, problem = state_of(self._manifest.root, name, claim, self._owners)
        self._result.bytes += claim.size * (state == INTACT)
        return state, problem

    def _expected(self) -> list[Sample] | None:
        """The samples that it must hold; None where they cannot be told."""
        expected, shard = self._work.samples(), self._shard
        if expected is None:
            return None
        for variant, claimed in shard.samples.items():
            if claimed != len(expected):
                self._faults.add(NAME, f"{shard.tars[variant]} has {claimed} samples there, {len(expected)} are listed")
        return expected

    def _spectra(self, expected: list[Sample]) -> np.ndarray | None:
        """The shard's rows of singular values, which must have the right form."""
        try:
            rows = spectra.rows(self._manifest, self._shard)
        except BadRows as error:
            self._unread(error)
            return None
        spectra.check_rows(self._manifest, rows, self._shard, expected, self._faults)
        return rows

    def _unread(self, error: BadRows) -> None:
        """Rows that cannot be read: of a file that is not the claimed one, what is told of it as a file."""
        claim = self._manifest.files.get(error.file)
        problem = str(error)
        if not error.claimed and claim is not None:
            problem = state_of(self._manifest.root, error.file, claim, self._owners)[1]
        self._faults.add(error.file, problem or "changed while it was being proven")

    def _prove_samples(self, expected: list[Sample], rows: np.ndarray | None) -> None:
        shape = self._manifest.shape
        size = max(1, _BATCH_PIXELS // (shape[0] * shape[1])) if shape else 1
        told = self._suspects, self._say, self._faults, self._unread
        recomputer = Recomputer(self._manifest, self._work, rows, self._source, *told)
        with contextlib.ExitStack() as stack:
            walks: dict[Variant, Iterator[Found | None]] = {}
            for variant, tar in self._tars.items():
                if tar.state != ABSENT:
                    try:
                        most = self._manifest.files[tar.name].size + SLACK
                        file = stack.enter_context(open_own(self._manifest.root / tar.name, most))
                    except OSError as error:
                        self._say(variant, why(error))
                        continue
                    walks[variant] = walk(file, expected, shape, variant.form, partial(self._say, variant))
            for start in range(0, len(expected), size):
                samples = expected[start : start + size]
                some = {variant: list(islice(found, len(samples))) for variant, found in walks.items()}
                batch = Batch(samples, shape or self._shape_of(some), {}, {})
                for variant, found in some.items():
                    batch.pixels[variant], batch.valid[variant] = self._decode(variant, batch, found)
                self._prove_batch(batch, recomputer)
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

    def _prove_batch(self, batch: Batch, recomputer: Recomputer) -> None:
        for variant, pixels in batch.pixels.items():
            more = Result(moments={(variant, self._shard.split): moments_of(pixels[batch.valid[variant]])})
            self._result.add(more)
        compared = recomputer.prove(batch)
        result = self._result
        result.fitted += compared.fitted
        result.paired += compared.paired
        result.recomputed += len(compared.values)
        result.counts = result.counts.plus(compared.counts)

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
        if state in (ABSENT, TORN, LONG) or (state == EDITED and not wrong):
            self._faults.add(name, problem)
        if wrong:
            self._faults.add(name, wrong)

    def _wrong_line(self, name: str, lines: list[str]) -> str:
        """The first line of an index that is not as it should be, or an empty string."""
        right = "".join(f"{line}\n" for line in lines).encode()
        try:
            with open_own(self._manifest.root / name) as file:
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
