"""One shard, from entries to committed files: read -> decode -> SVD once -> cut every variant -> encode -> tar.

The stages are iterators over batches, so memory does not grow with the shard. A shard is a pure function of its task:
the same bytes whichever process runs it, in whatever batches.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline import factors, npy, png, runtime, spectra, svd
from pipeline.commit import Record, Reject, VariantProof, record_name
from pipeline.errors import PipelineError, Undecodable
from pipeline.factors import Factors
from pipeline.plan import Shard, key
from pipeline.rows import RowWriter
from pipeline.shards import Heads, ShardWriter, heads
from pipeline.sources.index import Entry, Source
from pipeline.store import FileProof, LocalStore
from pipeline.variants import Cut, Statistics, Variant, cut

T = TypeVar("T")
STAGES = ("read", "decode", "svd", "encode", "write")
# Pixels of a plane times images of a batch: what keeps a batch's arrays in the processor's cache.
_BATCH_PIXELS = 1 << 16


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs for one shard.

    Attributes:
        tars: the variants to build, with the path of each one's tar in the output.
        every: all variants of the output, likewise.
        factors: of the output, if it keeps any.
        kept: the record of the variants that are in place already, if any.
        run: the run that owns the output.
    """

    shard: Shard
    identity: str
    entries: tuple[Entry, ...]
    shape: tuple[int, int]
    samples_per_shard: int
    tars: dict[Variant, str]
    every: dict[Variant, str]
    factors: Factors | None
    kept: Record | None
    source: Source
    root: Path
    run: str

    @property
    def new_factors(self) -> Factors | None:
        """Those to build."""
        return None if self.kept and self.kept.factors else self.factors


@dataclass
class Progress:
    """What a shard in work reports: seconds by stage, and images and rejects so far."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    images: int = 0
    rejects: list[Reject] = field(default_factory=list)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


class SourceChanged(Exception):
    """The images of a shard are not those that its kept variants were made from."""


class Batch(NamedTuple):
    """Decoded images: their output positions, keys and labels by form, and uint8 (n, 3, h, w) pixels."""

    positions: list[int]
    samples: dict[str, list[Heads]]
    pixels: np.ndarray


class Computed(NamedTuple):
    """A batch's cuts, and its rows: (n, ...) by array, ``spectra`` and, where factors are built, ``u``, ``s``, ``v``."""

    batch: Batch
    cuts: dict[Variant, Cut]
    rows: dict[str, np.ndarray]


class Encoded(NamedTuple):
    """A batch, ready to be written: image files and statistics by variant, and its rows."""

    batch: Batch
    files: dict[Variant, list[bytes]]
    statistics: dict[Variant, Statistics]
    rows: dict[str, np.ndarray]


class Executor(Protocol):
    """Wraps each stage of a shard."""

    def __call__(self, stage: Iterable[T], /) -> Iterable[T]: ...


def in_turn(stage: Iterable[T], /) -> Iterable[T]:
    """The executor of a single core: each stage runs when the next one asks. A GPU worker injects one that overlaps."""
    return stage


def build_shard(
    task: ShardTask,
    overlap: Executor = in_turn,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Compute, write and commit one shard.

    Args:
        overlap: wraps each stage's iterator.
        report: called after every batch.

    Raises:
        OSError: reading or writing failed; worth another try unless the disk is full.
        LostLock: the output belongs to another run by now.
        SourceChanged: nothing has been published; build all variants of the shard.
        PipelineError: an image of another size than the first one's.
    """
    store, progress = LocalStore(task.root), Progress()
    scratch: dict[str, Path] = {}
    tars: dict[Variant, ShardWriter] = {}
    arrays: dict[str, RowWriter] = {}

    def scratch_for(name: str) -> Path:
        scratch[name] = store.scratch(task.run)
        return scratch[name]

    try:
        tars.update({v: ShardWriter(scratch_for(name), v.form) for v, name in task.tars.items()})
        arrays.update(_row_writers(task, scratch_for))
        statistics = dict.fromkeys(tars, Statistics())
        for encoded in overlap(encode_batches(task, tuple(tars), progress, overlap)):
            with progress.timed("write"):
                for variant, tar in tars.items():
                    tar.add(encoded.batch.samples[variant.form], encoded.files[variant])
                    statistics[variant] += encoded.statistics[variant]
                for name, array in arrays.items():
                    array.add(encoded.batch.positions, encoded.rows[name])
            progress.images += len(encoded.batch.positions)
            report(progress)
        with progress.timed("write"):
            proofs = {}
            for variant, tar in tars.items():
                file, index = tar.finish(), task.tars[variant].removesuffix(".tar") + ".idx"
                proofs[variant.name] = VariantProof(
                    FileProof(task.tars[variant], file.size, file.sha256),
                    _write(index, file.dali_index, scratch_for(index)),
                    statistics[variant],
                    versions(),
                )
            chunks = {name: array.finish() for name, array in arrays.items()}
            record = _record(task, progress, proofs, chunks)
            store.publish(scratch, task.run)
            store.put(record_name(task.shard), record.to_json(), task.run)
    finally:
        for tar in tars.values():
            tar.close()
        for array in arrays.values():
            array.close()
        for path in scratch.values():
            path.unlink(missing_ok=True)
    return progress


def _row_writers(task: ShardTask, scratch_for: Callable[[str], Path]) -> dict[str, RowWriter]:
    split, rows = task.shard.split, task.samples_per_shard
    arrays = {"spectra": spectra.array(split, min(task.shape), rows)}
    if task.new_factors:
        arrays |= task.new_factors.arrays(split, task.shape, rows)
    return {name: RowWriter(array, task.shard.start, task.shard.stop, scratch_for) for name, array in arrays.items()}


def _record(
    task: ShardTask,
    progress: Progress,
    proofs: dict[str, VariantProof],
    chunks: dict[str, tuple[FileProof, ...]],
) -> Record:
    """The shard's record with what has been built now. Raises SourceChanged."""
    kept, rejects, values = task.kept, tuple(progress.rejects), chunks.pop("spectra")
    if kept and (kept.spectra, kept.rejects) != (values, rejects):
        raise SourceChanged
    factor_chunks = tuple(proof for array in chunks.values() for proof in array)
    return Record(
        task.identity,
        progress.images,
        rejects,
        values,
        (kept.variants if kept else {}) | proofs,
        factor_chunks or (kept.factors if kept else ()),
    )


def encode_batches(
    task: ShardTask,
    wanted: tuple[Variant, ...],
    progress: Progress,
    overlap: Executor = in_turn,
) -> Iterator[Encoded]:
    """Everything before the writing; a dry run measures with it."""
    runtime.prepare()
    raw = overlap(_read(task, progress))
    batches = overlap(_decode(task, raw, progress))
    computed = overlap(_cut(task, batches, wanted, progress))
    for batch, cuts, rows in computed:
        with progress.timed("encode"):
            files = {variant: _encode(variant, one.pixels) for variant, one in cuts.items()}
        yield Encoded(batch, files, {variant: one.statistics for variant, one in cuts.items()}, rows)


def _encode(variant: Variant, pixels: np.ndarray) -> list[bytes]:
    if variant.exact:
        return npy.encode(pixels)
    return png.encode(pixels, png.NONE if variant.component == "high" else png.AVERAGE)


def _read(task: ShardTask, progress: Progress) -> Iterator[list[tuple[Entry, bytes]]]:
    height, width = task.shape
    size = max(1, _BATCH_PIXELS // (height * width))
    for start in range(0, len(task.entries), size):
        with progress.timed("read"):
            batch = [(entry, task.source.read(entry)) for entry in task.entries[start : start + size]]
        yield batch


def _decode(task: ShardTask, batches: Iterable[list[tuple[Entry, bytes]]], progress: Progress) -> Iterator[Batch]:
    position = task.shard.start
    forms = {variant.form for variant in task.every}
    for raw in batches:
        with progress.timed("decode"):
            batch = Batch([], {form: [] for form in forms}, np.empty((len(raw), 3, *task.shape), np.uint8))
            for entry, content in raw:
                name = key(task.shard.split, entry.index)
                try:
                    pixels = task.source.decode(content)
                except Undecodable as error:
                    progress.rejects.append(
                        Reject(task.shard.split, entry.index, position, entry.name, entry.size, str(error))
                    )
                else:
                    _check_size(entry, pixels, task.shape)
                    batch.pixels[len(batch.positions)] = pixels
                    batch.positions.append(position)
                    for form, samples in batch.samples.items():
                        samples.append(heads(name, entry.label, form))
                position += 1
        if batch.positions:
            yield batch._replace(pixels=batch.pixels[: len(batch.positions)])


def _check_size(entry: Entry, pixels: np.ndarray, shape: tuple[int, int]) -> None:
    if pixels.shape[1:] != shape:
        raise PipelineError(
            f"{entry.name} is {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width), the first image "
            f"of the source {shape[0]} x {shape[1]}: a build takes images of one size"
        )


def _cut(
    task: ShardTask, batches: Iterable[Batch], wanted: tuple[Variant, ...], progress: Progress, xp: ModuleType = np
) -> Iterator[Computed]:
    for batch in batches:
        with progress.timed("svd"):
            count, channels, height, width = batch.pixels.shape
            decomposed = svd.decompose(batch.pixels.reshape(-1, height, width), xp)
            cuts = cut(batch.pixels, decomposed, wanted, xp)
            rows = {"spectra": (decomposed.values / 255).astype(np.float32).reshape(count, channels, -1)}
            if task.new_factors:
                rows |= factors.reshaped(svd.factors(decomposed, task.new_factors.rank, xp), count)
        yield Computed(batch, cuts, rows)


def _write(name: str, data: bytes, path: Path) -> FileProof:
    path.write_bytes(data)
    return FileProof(name, len(data), hashlib.sha256(data).hexdigest())


def versions() -> dict[str, str]:
    """The libraries that an output's bytes come from."""
    return {package: version(package) for package in ("numpy", "pillow", "zlib-ng", "deflate")}
