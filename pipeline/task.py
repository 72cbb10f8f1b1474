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

from pipeline import png, runtime, spectra, svd
from pipeline.commit import FileProof, Record, Reject, VariantProof, record_name
from pipeline.errors import PipelineError, Undecodable
from pipeline.plan import Shard, key
from pipeline.shards import Heads, ShardWriter, heads
from pipeline.sources.index import Entry, Source
from pipeline.store import LocalStore
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
    kept: Record | None
    source: Source
    root: Path
    run: str


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
    """Decoded images: their output positions, keys and labels, and uint8 (n, 3, h, w) pixels."""

    positions: list[int]
    samples: list[Heads]
    pixels: np.ndarray


class Encoded(NamedTuple):
    """A batch, ready to be written: PNG files and statistics by variant, float32 (n, 3, min(h, w)) singular values."""

    batch: Batch
    files: dict[Variant, list[bytes]]
    statistics: dict[Variant, Statistics]
    values: np.ndarray


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
    writers: dict[Variant, ShardWriter] = {}

    def scratch_for(name: str) -> Path:
        scratch[name] = store.scratch(task.run)
        return scratch[name]

    try:
        writers.update({variant: ShardWriter(scratch_for(name)) for variant, name in task.tars.items()})
        statistics = dict.fromkeys(writers, Statistics())
        height, width = task.shape
        values = np.full((task.shard.stop - task.shard.start, 3, min(height, width)), np.nan, np.float32)
        for encoded in overlap(encode_batches(task, tuple(writers), progress, overlap)):
            with progress.timed("write"):
                for variant, writer in writers.items():
                    writer.add(encoded.batch.samples, encoded.files[variant])
                    statistics[variant] += encoded.statistics[variant]
            values[[position - task.shard.start for position in encoded.batch.positions]] = encoded.values
            progress.images += len(encoded.batch.samples)
            report(progress)
        with progress.timed("write"):
            proofs = {}
            for variant, writer in writers.items():
                tar, index = writer.finish(), task.tars[variant].removesuffix(".tar") + ".idx"
                proofs[variant.name] = VariantProof(
                    FileProof(task.tars[variant], tar.size, tar.sha256),
                    _write(index, tar.dali_index, scratch_for(index)),
                    statistics[variant],
                    versions(),
                )
            chunks = spectra.chunks(task.shard.split, task.shard.start, values, task.samples_per_shard)
            chunk_proofs = tuple(_write(name, data, scratch_for(name)) for name, data in chunks.items())
            if task.kept and (task.kept.spectra, task.kept.rejects) != (chunk_proofs, tuple(progress.rejects)):
                raise SourceChanged
            store.publish(scratch, task.run)
            kept = task.kept.variants if task.kept else {}
            rejects = tuple(progress.rejects)
            record = Record(task.identity, progress.images, rejects, chunk_proofs, kept | proofs)
            store.put(record_name(task.shard), record.to_json(), task.run)
    finally:
        for writer in writers.values():
            writer.close()
        for path in scratch.values():
            path.unlink(missing_ok=True)
    return progress


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
    cuts = overlap(_cut(batches, wanted, progress))
    for batch, cut_by_variant, values in cuts:
        with progress.timed("encode"):
            files = {
                variant: png.encode(one.pixels, png.NONE if variant.component == "high" else png.AVERAGE)
                for variant, one in cut_by_variant.items()
            }
        yield Encoded(batch, files, {variant: one.statistics for variant, one in cut_by_variant.items()}, values)


def _read(task: ShardTask, progress: Progress) -> Iterator[list[tuple[Entry, bytes]]]:
    height, width = task.shape
    size = max(1, _BATCH_PIXELS // (height * width))
    for start in range(0, len(task.entries), size):
        with progress.timed("read"):
            batch = [(entry, task.source.read(entry)) for entry in task.entries[start : start + size]]
        yield batch


def _decode(task: ShardTask, batches: Iterable[list[tuple[Entry, bytes]]], progress: Progress) -> Iterator[Batch]:
    position = task.shard.start
    for raw in batches:
        with progress.timed("decode"):
            batch = Batch([], [], np.empty((len(raw), 3, *task.shape), np.uint8))
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
                    batch.pixels[len(batch.samples)] = pixels
                    batch.positions.append(position)
                    batch.samples.append(heads(name, entry.label))
                position += 1
        if batch.samples:
            yield batch._replace(pixels=batch.pixels[: len(batch.samples)])


def _check_size(entry: Entry, pixels: np.ndarray, shape: tuple[int, int]) -> None:
    if pixels.shape[1:] != shape:
        raise PipelineError(
            f"{entry.name} is {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width), the first image "
            f"of the source {shape[0]} x {shape[1]}: a build takes images of one size"
        )


def _cut(
    batches: Iterable[Batch], wanted: tuple[Variant, ...], progress: Progress, xp: ModuleType = np
) -> Iterator[tuple[Batch, dict[Variant, Cut], np.ndarray]]:
    for batch in batches:
        with progress.timed("svd"):
            count, channels, height, width = batch.pixels.shape
            decomposed = svd.decompose(batch.pixels.reshape(-1, height, width), xp)
            cuts = cut(batch.pixels, decomposed, wanted, xp)
            values = (decomposed.values / 255).astype(np.float32).reshape(count, channels, -1)
        yield batch, cuts, values


def _write(name: str, data: bytes, path: Path) -> FileProof:
    path.write_bytes(data)
    return FileProof(name, len(data), hashlib.sha256(data).hexdigest())


def versions() -> dict[str, str]:
    """The libraries that an output's bytes come from."""
    return {package: version(package) for package in ("numpy", "pillow", "zlib-ng", "deflate")}
