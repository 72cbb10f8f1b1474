"""Verifies one shard in all its variants: its files, members, labels, pixels and singular values."""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from pipeline.sources.index import Source
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import printable
from pipeline.verification.files import (
    ABSENT,
    EDITED,
    INTACT,
    LONG,
    SLACK,
    TORN,
    HashedFile,
    Owners,
    open_own,
    why,
)
from pipeline.verification.listings import Sample
from pipeline.verification.manifest.claims import NAME, Manifest, Variant, index_file
from pipeline.verification.parts import Result, ShardWork
from pipeline.verification.shards.batch import Batch
from pipeline.verification.shards.image import BadImage, decode_all, decode_by_pillow, largest, size_of
from pipeline.verification.shards.moments import moments_of
from pipeline.verification.shards.pixel_digest import PixelDigest
from pipeline.verification.shards.recompute import Recomputer
from pipeline.verification.shards.shard_faults import ShardFaults
from pipeline.verification.shards.tar import Cache, members
from pipeline.verification.shards.tar_samples import StoredSample, read_samples

_BATCH_PIXELS = 1 << 17  # of all images of a batch in one variant


def verify_shard(manifest: Manifest, owners: Owners, work: ShardWork, source: Source | None) -> Result:
    """Returns what was found of a shard. Memory does not grow with its number of samples.

    The files are read once, and hashed on the way. If anything is wrong, or the list of samples is not the claimed one, the
    files are hashed and then read by the same code, which now knows which of them to blame for a fault.

    Args:
        owners: the claimed files by their SHA-256.
        source: the source of the originals, if it is given.
    """
    if work.listed and work.indexes is not None:
        result = _ShardVerifier(manifest, owners, work, source).verify(stop_at_fault=True)
        if not result.faults.count:
            return result
    verifier = _ShardVerifier(manifest, owners, work, source)
    verifier.faults.hash_files()
    return verifier.verify(stop_at_fault=False)


@dataclass
class _Tar:
    """The tar of one variant.

    Attributes:
        file: None if the tar cannot be opened.
        samples: what it stores of each expected sample, in order.
        lines: what its DALI index must say of each sample, so far.
        digest: of the pixels of its samples, so far.
    """

    name: str
    file: HashedFile | None = None
    samples: Iterator[StoredSample | None] = field(default_factory=lambda: iter(()))
    lines: list[str] = field(default_factory=list)
    digest: PixelDigest = field(default_factory=PixelDigest)


class _ShardVerifier:
    """Verifies one shard, under the states of its files that ``faults`` has."""

    def __init__(self, manifest: Manifest, owners: Owners, work: ShardWork, source: Source | None) -> None:
        self._manifest, self._work, self._source = manifest, work, source
        self._shard, self._result = work.shard, Result()
        self.faults = ShardFaults(manifest, work.shard, owners, work.listed)
        self._result.faults = self.faults.all

    def verify(self, stop_at_fault: bool) -> Result:
        """Returns what was found; if ``stop_at_fault``, of no more than the batches up to the first fault."""
        self._tars = {variant: _Tar(self._shard.tars[variant.name]) for variant in self._manifest.variants}
        self._report_lost_files()
        expected = self._expected()
        if expected is not None:
            self._result.samples = len(expected)
            self._verify_tars(expected, self._spectra(expected), stop_at_fault)
        if not (stop_at_fault and self.faults.all.count):
            self._report_edited_tars(readable=expected is not None)
            for tar in self._tars.values():
                self._verify_index(tar, index_file(tar.name), readable=expected is not None)
        return self._result

    def _report_lost_files(self) -> None:
        """Reports tars that are missing, torn or too long, and counts the bytes of files that are as claimed."""
        for tar in self._tars.values():
            for name in (tar.name, index_file(tar.name)):
                if self.faults.state(name).kind == INTACT:
                    self._result.bytes += self._manifest.files[name].size
            state = self.faults.state(tar.name)
            if state.kind in (TORN, LONG, ABSENT):
                self.faults.add(tar.name, state.problem)

    def _report_edited_tars(self, readable: bool) -> None:
        """Reports tars that are not the claimed ones, though no fault of a sample was found in them."""
        for tar in self._tars.values():
            state = self.faults.state(tar.name)
            if state.kind == EDITED and (self.faults.is_clean(tar.name) or not readable):
                self.faults.add(tar.name, state.problem + (", but every sample reads well" if readable else ""))

    def _expected(self) -> list[Sample] | None:
        """Returns the samples that the shard must hold; None if the list of samples cannot be used."""
        expected, shard = self._work.samples(), self._shard
        if expected is None:
            return None
        for variant, claimed in shard.samples.items():
            # Without a complete list, the list is at fault, which is reported already.
            if self._work.listed and claimed != len(expected):
                self.faults.add(NAME, f"{shard.tars[variant]} has {claimed} samples there, {len(expected)} are listed")
        return expected

    def _spectra(self, expected: list[Sample]) -> np.ndarray | None:
        """Returns the shard's rows of singular values, and verifies their form."""
        try:
            rows = spectra.rows(self._manifest, self._shard)
        except BadRows as error:
            self.faults.add_unreadable(error)
            return None
        spectra.check_rows(self._manifest, rows, self._shard, expected, self.faults.all)
        return rows

    def _verify_tars(self, expected: list[Sample], rows: np.ndarray | None, stop_at_fault: bool) -> None:
        with contextlib.ExitStack() as stack:
            self._open_tars(expected, stack)
            self._verify_samples(expected, rows, stop_at_fault)
            if not (stop_at_fault and self.faults.all.count):
                self._verify_ends()

    def _open_tars(self, expected: list[Sample], stack: contextlib.ExitStack) -> None:
        headers: Cache = {}
        for variant, tar in self._tars.items():
            if self.faults.state(tar.name).kind == ABSENT:
                continue
            try:
                most = self._manifest.files[tar.name].size + SLACK
                tar.file = HashedFile(self._manifest.root / tar.name, most)
            except OSError as error:
                self.faults.add_to(variant, why(error))
                continue
            file = stack.enter_context(io.BufferedReader(tar.file, 1 << 18))
            stream = members(file, largest(self._manifest.shape, variant.form), headers)
            tar.samples = read_samples(stream, expected, variant.form, partial(self.faults.add_to, variant))

    def _verify_samples(self, expected: list[Sample], rows: np.ndarray | None, stop_at_fault: bool) -> None:
        shape = self._manifest.shape
        size = max(1, _BATCH_PIXELS // (shape[0] * shape[1])) if shape else 1
        recomputer = Recomputer(self._manifest, self._work, rows, self._source, self.faults)
        for start in range(0, len(expected), size):
            if stop_at_fault and self.faults.all.count:
                return
            samples = expected[start : start + size]
            stored = {
                variant: list(islice(tar.samples, len(samples))) for variant, tar in self._tars.items() if tar.file
            }
            batch = Batch(samples, shape or self._shape_of(stored), {}, {})
            for variant, images in stored.items():
                batch.pixels[variant], batch.valid[variant] = self._decode(variant, batch, images)
            self._verify_batch(batch, recomputer)

    def _shape_of(self, stored: dict[Variant, list[StoredSample | None]]) -> tuple[int, int]:
        """Returns (height, width) of an image whose size the manifest does not tell: what the first variant has."""
        for variant, images in stored.items():
            for image in images:
                with contextlib.suppress(BadImage):
                    return size_of(image.image if image else b"", variant.form)
        return 1, 1

    def _decode(
        self, variant: Variant, batch: Batch, stored: list[StoredSample | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (n, h, w, 3) pixels, uint8 or float32, and bool (n,): the images that could be decoded."""
        self._tars[variant].lines += [sample.index_line for sample in stored if sample]
        pixels, errors = decode_all([sample and sample.image for sample in stored], batch.shape, variant.form)
        valid = np.array([sample is not None for sample in stored])
        if variant.form == "png":
            self._decode_again(batch, stored, pixels, errors)
        for place, error in sorted(errors.items()):
            valid[place] = False
            self.faults.add_to(variant, f"{batch.samples[place].key}.{variant.form}: {error}")
        return pixels, valid

    def _decode_again(
        self, batch: Batch, stored: list[StoredSample | None], pixels: np.ndarray, errors: dict[int, BadImage]
    ) -> None:
        """Decodes the images that are recomputed by Pillow as well, which must give the same pixels."""
        for place, sample in enumerate(batch.samples):
            image = stored[place]
            if sample.position not in self._work.recomputed or image is None or place in errors:
                continue
            try:
                if not np.array_equal(decode_by_pillow(image.image), pixels[place]):
                    errors[place] = BadImage("Pillow decodes other pixels")
            except BadImage as error:
                errors[place] = error

    def _verify_batch(self, batch: Batch, recomputer: Recomputer) -> None:
        result = self._result
        for variant, pixels in batch.pixels.items():
            valid = batch.valid[variant]
            if self._manifest.has_digests:
                self._tars[variant].digest.add(batch.samples, pixels)
            moments = moments_of(pixels if valid.all() else pixels[valid])
            result.add(Result(moments={(variant, self._shard.split): moments}))
        compared = recomputer.verify(batch)
        result.fitted += compared.fitted
        result.paired += compared.paired
        result.recomputed += len(compared.values)
        result.counts = result.counts.plus(compared.counts)

    def _verify_ends(self) -> None:
        """Reads every tar to its end, and compares its hash with the claim if it is said to be the claimed one."""
        for variant, tar in self._tars.items():
            next(tar.samples, None)  # reports faults in the rest of the tar
            if tar.file is None or self.faults.state(tar.name).kind != INTACT or not self.faults.is_clean(tar.name):
                continue
            if not tar.file.is_claimed(self._manifest.files[tar.name]):
                self.faults.add_to(variant, "changed while it was being verified")
            elif self._wrong_digest(variant, tar):
                self.faults.add(NAME, f"the pixel_digest of {tar.name} is not that of its pixels")

    def _wrong_digest(self, variant: Variant, tar: _Tar) -> bool:
        """Returns whether the claimed digest is not that of the pixels; a wrong list of samples gives wrong labels."""
        if not (self._manifest.has_digests and self._work.listed):
            return False
        return self._shard.digests[variant.name] != tar.digest.hexdigest()

    def _verify_index(self, tar: _Tar, name: str, readable: bool) -> None:
        """If the tar is as it should be, its DALI index must agree with it; otherwise only the hash can tell."""
        (kind, problem), wrong = self.faults.state(name), ""
        usable = self.faults.state(tar.name).kind == INTACT and self.faults.is_clean(tar.name) and self._work.listed
        if kind != ABSENT and readable and usable:
            wrong = self._wrong_line(name, [f"v1.2 {len(tar.lines)}", *tar.lines])
        if kind in (ABSENT, TORN, LONG) or (kind == EDITED and not wrong):
            self.faults.add(name, problem)
        if wrong:
            self.faults.add(name, wrong)

    def _wrong_line(self, name: str, lines: list[str]) -> str:
        """Returns which line of an index is wrong, or how else it is not the claimed one; an empty string if it is."""
        right = "".join(f"{line}\n" for line in lines).encode()
        try:
            with open_own(self._manifest.root / name) as file:
                content = file.read(2 * len(right) + 1)
        except OSError as error:
            return why(error)
        if content == right:
            claimed = self._manifest.files[name] == (len(right), hashlib.sha256(right).hexdigest())
            return "" if claimed else "changed while it was being verified"
        stored = content.decode("latin-1").split("\n")
        for number, line in enumerate(lines):
            if number >= len(stored) or stored[number] != line:
                has = ascii(printable(stored[number])) if number < len(stored) else "missing"
                return f"line {number + 1} is {has}, should be {line!r}"
        return "it continues after its last sample"
