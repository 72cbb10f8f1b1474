"""One shard proven fast: every file, member, label and pixel read once, and told whether all of it is as it should be.

What does not pass goes through ``shard``, slowly, which tells what is wrong with it.
"""

import contextlib
import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.sources.index import Source
from pipeline.verification import no_blas  # noqa: F401
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.recompute import Recomputer
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.listings import Sample
from pipeline.verification.manifest.claims import Manifest, Variant, index_file
from pipeline.verification.part import Result, Work
from pipeline.verification.shards import complement_loops, libdeflate
from pipeline.verification.shards.files import open_own
from pipeline.verification.shards.image import BadImage, decode
from pipeline.verification.shards.moments import Moments
from pipeline.verification.shards.pixels import Batch
from pipeline.verification.shards.png_batch import PngReader, names_of
from pipeline.verification.shards.stream import HashedStream
from pipeline.verification.shards.tar_loops import NAME

_BATCH_PIXELS = 1 << 18  # of all images of a batch in one variant


class Doubt(Exception):
    """Something is not as it should be."""


@dataclass
class _Tar:
    """One variant of the shard. ``pixels``: uint8 (n, h, 3 w), of the batch at work; the sums are of all so far."""

    name: str
    stream: HashedStream
    reader: PngReader
    pixels: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    ends: int = 0


def screen(manifest: Manifest, work: Work, source: Source | None) -> Result | None:
    """What ``ShardProof`` finds of a shard without a fault; None where there may be one, or it has other images than
    PNG files of one size."""
    if manifest.shape is None or any(variant.form != "png" for variant in manifest.variants) or not libdeflate.FOUND:
        return None
    with contextlib.ExitStack() as stack:
        try:
            return _Screen(manifest, work, source, stack).run()
        except (Doubt, OSError, BadImage, BadRows):
            return None


class _Screen:
    def __init__(self, manifest: Manifest, work: Work, source: Source | None, stack: contextlib.ExitStack) -> None:
        assert manifest.shape is not None
        self._manifest, self._work, self._shape, self._stack = manifest, work, manifest.shape, stack
        self._result = Result()
        self._samples = self._expected()
        rows = spectra.rows(manifest, work.shard)
        spectra.check_rows(manifest, rows, work.shard, self._samples, self._result.faults)
        faults = self._result.faults
        self._recomputer = Recomputer(
            manifest, work, rows, source, lambda _: [], lambda v, text: faults.add(v.name, text), faults, _doubt
        )
        self._pairs, self._bands, self._full = manifest.pairs(), manifest.bands(), manifest.full

    def run(self) -> Result:
        """Raises Doubt, OSError, BadImage."""
        manifest, result, (height, width) = self._manifest, self._result, self._shape
        size = max(1, _BATCH_PIXELS // (height * width))
        tars = {variant: self._open(variant, size) for variant in manifest.variants}
        for start in range(0, len(self._samples), size):
            self._batch(tars, self._samples[start : start + size])
            _sure(not result.faults.count)
        for variant, tar in tars.items():
            self._finish(tar)
            pixels = len(self._samples) * height * width
            found = Moments(pixels, tar.sums / 255, tar.squares / 255**2, tar.ends)
            result.moments[variant, self._work.shard.split] = found
        result.samples = len(self._samples)
        return result

    def _expected(self) -> list[Sample]:
        """The samples that the shard must hold."""
        samples = self._work.samples() if self._work.listed else None
        if samples is None:
            raise Doubt
        _sure(all(count == len(samples) for count in self._work.shard.samples.values()))
        _sure(all(len(sample.key) <= NAME - 4 for sample in samples))
        return samples

    def _open(self, variant: Variant, size: int) -> _Tar:
        name, (height, width) = self._work.shard.tars[variant.name], self._shape
        stream = HashedStream(self._manifest.root / name)
        self._stack.callback(stream.close)
        claim = self._manifest.files.get(name)
        _sure(claim is not None and stream.size == claim.size)
        pixels = np.empty((size, height, 3 * width), np.uint8)
        return _Tar(
            name, stream, PngReader(stream, self._shape), pixels, np.zeros(3, np.uint64), np.zeros(3, np.uint64)
        )

    def _batch(self, tars: dict[Variant, _Tar], samples: list[Sample]) -> None:
        names, count = names_of(samples), len(samples)
        for tar in tars.values():
            _sure(tar.reader.read(samples, names, tar.pixels[:count]))
            tar.ends += complement_loops.moments(
                tar.pixels[:count].reshape(-1, 3 * self._shape[1]), tar.sums, tar.squares
            )
        flat = {variant: tar.pixels[:count].reshape(-1) for variant, tar in tars.items()}
        if self._full is not None:
            _sure(all(complement_loops.add_up(flat[self._full], flat[low], flat[high]) for low, high in self._pairs))
        elif self._pairs:
            size = flat[self._pairs[0][0]].size
            least, most = np.zeros(size, np.int16), np.full(size, 255, np.int16)
            _sure(all(complement_loops.narrow(least, most, flat[low], flat[high]) for low, high in self._pairs))
        _sure(all(complement_loops.differ(flat[band], flat[more], flat[less]) for band, more, less in self._bands))
        fitted = self._recompute(tars, samples)
        pairs = len(self._pairs) * count
        fitted = pairs if self._full is not None else fitted
        self._result.fitted += fitted
        self._result.paired += pairs - fitted

    def _recompute(self, tars: dict[Variant, _Tar], samples: list[Sample]) -> int:
        """The images that are to be recomputed, decoded by Pillow as well; gives their pairs that fit a known image."""
        places = [i for i, sample in enumerate(samples) if sample.position in self._work.recomputed]
        if not places:
            return 0
        pixels, (height, width) = {}, self._shape
        for variant, tar in tars.items():
            decoded = [decode(tar.reader.file(i), self._shape, "png") for i in places]
            pixels[variant] = np.stack(decoded)
            _sure(np.array_equal(pixels[variant].reshape(-1, height, 3 * width), tar.pixels[places]))
        valid = dict.fromkeys(pixels, np.ones(len(places), bool))
        compared = self._recomputer.prove(Batch([samples[i] for i in places], self._shape, pixels, valid))
        self._result.recomputed += len(compared.values)
        self._result.counts = self._result.counts.plus(compared.counts)
        return compared.fitted

    def _finish(self, tar: _Tar) -> None:
        """The end of the tar, its hash, and its DALI index."""
        claims, index = self._manifest.files, index_file(tar.name)
        _sure(tar.reader.at_end() and tar.stream.digest() == claims[tar.name].sha256)
        lines, claim = tar.reader.index(), claims.get(index)
        _sure(claim is not None and claim == (len(lines), hashlib.sha256(lines).hexdigest()))
        with open_own(self._manifest.root / index) as file:
            _sure(file.read(len(lines) + 1) == lines)
        self._result.bytes += claims[tar.name].size + len(lines)


def _doubt(_: BadRows) -> None:
    raise Doubt


def _sure(holds: bool) -> None:
    if not holds:
        raise Doubt
