"""The stages of a shard before it is written: read -> decode -> geometry -> SVD once -> cut every variant -> encode.

Each stage is an iterator over batches, so memory does not grow with the shard. The result does not depend on the division
into batches, because every plane is computed by itself.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError, Undecodable
from pipeline.formats import npy, pixel_digest, png
from pipeline.formats.packed import PackedFiles
from pipeline.formats.sample_key import sample_key
from pipeline.formats.tar import Heads, heads
from pipeline.numerics import resample, runtime
from pipeline.numerics.batch import HERE, Compute, Computed, Place
from pipeline.numerics.cut import Cut, join
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant
from pipeline.planning.record import Reject
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.sources.images import MAX_BYTES, too_large
from pipeline.sources.index import Entry, Picture

# Subpixels above which the channels of an image are computed one by one, because their float64 arrays need much memory.
_LARGE = 1 << 20


class Batch(NamedTuple):
    """Decoded images.

    Attributes:
        positions: their output positions.
        keys, labels: of their samples.
        images: their pixels, uint8 (3, h, w).
    """

    positions: list[int]
    keys: list[str]
    labels: list[int]
    images: list[np.ndarray]

    def heads(self, forms: Iterable[str]) -> dict[str, Heads]:
        """Returns the parts of the samples' members that are equal in all variants of a form, by form."""
        return {form: heads(self.keys, self.labels, form) for form in forms}

    def seeds(self) -> list[int]:
        """Returns the seeds of the samples' pixel digests."""
        samples = zip(self.keys, self.labels, self.images, strict=True)
        return [pixel_digest.sample_seed(key, label, *pixels.shape[1:]) for key, label, pixels in samples]


class Group(NamedTuple):
    """The images of a batch that have the same size.

    Attributes:
        places: their places in the batch.
        cuts: by variant.
        rows: by array, (n, ...).
    """

    places: list[int]
    cuts: dict[Variant, Cut]
    rows: dict[str, np.ndarray]


# A group whose computation has begun: its places, and functions that wait for the results. There is one function for all
# channels, or one per channel.
Begun = tuple[list[int], list[Callable[[], Computed]]]


class Encoded(NamedTuple):
    """A batch that is ready to be written.

    Attributes:
        heads: the samples' members without their images, by form.
        files: image files by variant.
        statistics: by variant.
        digests: pixel digests by variant.
        rows: (n, ...) by array: ``spectra``, and ``u``, ``s`` and ``v`` if factors are built.
    """

    batch: Batch
    heads: dict[str, Heads]
    files: dict[Variant, PackedFiles]
    statistics: dict[Variant, Statistics]
    digests: dict[Variant, int]
    rows: dict[str, np.ndarray]


def encode_batches(
    task: ShardTask,
    variants: tuple[Variant, ...],
    progress: Progress,
    place: Place = HERE,
) -> Iterator[Encoded]:
    """Runs all stages before the writing, for some variants of a task."""
    runtime.prepare()
    raw = place.overlap(_read(task, progress, place.batch_pixels))
    batches = place.overlap(_decode(task, raw, progress, place.batch_pixels))
    begun = place.overlap(_begin(task, batches, variants, progress, place.compute))
    for batch, groups in begun:
        with progress.timed("svd"):
            finished = [_finish(places, channels, progress) for places, channels in groups]
        with progress.timed("encode"):
            encoded = _encoded(batch, finished, variants)
        yield encoded


def _read(task: ShardTask, progress: Progress, batch_pixels: int) -> Iterator[list[tuple[Entry, bytes]]]:
    """Reads as many images as make a batch, or one by one if their sizes are unknown."""
    size = max(1, batch_pixels // (task.shape[0] * task.shape[1])) if task.shape else 1
    for start in range(0, len(task.entries), size):
        with progress.timed("read"):
            batch = []
            for entry in task.entries[start : start + size]:
                progress.at(entry.name)
                batch.append((entry, task.source.read(entry) if entry.size <= MAX_BYTES else b""))
            for _, content in batch:
                progress.take(content)
        yield batch


def _decode(
    task: ShardTask, batches: Iterable[list[tuple[Entry, bytes]]], progress: Progress, batch_pixels: int
) -> Iterator[Batch]:
    position, pixels = task.shard.start, 0
    batch = Batch([], [], [], [])
    for raw in batches:
        with progress.timed("decode"):
            for entry, content in raw:
                progress.at(entry.name)
                picture = _picture(task, entry, content, position, progress)
                if picture is not None:
                    progress.converted.update([picture.converted] if picture.converted else [])
                    pixels += picture.pixels[0].size
                    batch.images.append(picture.pixels)
                    batch.positions.append(position)
                    batch.keys.append(sample_key(task.shard.split, entry.index))
                    batch.labels.append(entry.label)
                position += 1
        if pixels >= batch_pixels // 2:
            yield batch
            batch, pixels = Batch([], [], [], []), 0
    if batch.images:
        yield batch


def _picture(task: ShardTask, entry: Entry, content: bytes, position: int, progress: Progress) -> Picture | None:
    """Returns the image after the geometry, or None if it is a reject."""
    try:
        if entry.index in task.deadly:
            raise Undecodable(task.deadly[entry.index])
        if entry.size > MAX_BYTES:
            raise too_large(entry.size)
        picture = task.source.decode(content)
        picture = picture._replace(pixels=resample.apply(task.geometry, picture.pixels))
    except Undecodable as error:
        reject = Reject(task.shard.split, entry.index, position, entry.name, entry.size, str(error))
        progress.rejects.append(reject)
        return None
    shape = picture.pixels.shape[1:]
    if shape != task.shape if task.shape else min(shape) > task.side:
        raise PipelineError(f"{entry.name} has changed: it is {shape[0]} x {shape[1]} pixels (height x width) now")
    return picture


def _begin(
    task: ShardTask, batches: Iterable[Batch], variants: tuple[Variant, ...], progress: Progress, compute: Compute
) -> Iterator[tuple[Batch, list[Begun]]]:
    recipe = task.recipe(variants)
    for batch in batches:
        with progress.timed("svd"):
            groups = [(places, _group(batch, places, recipe, compute)) for places in _of_one_size(batch.images)]
        yield batch, groups


def _of_one_size(images: list[np.ndarray]) -> Iterable[list[int]]:
    """Returns the places of the images of each size."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    return places.values()


def _group(batch: Batch, places: list[int], recipe: Recipe, compute: Compute) -> list[Callable[[], Computed]]:
    """Begins to compute the images at some places: all channels together, or one by one for large images."""
    pixels = np.ascontiguousarray(np.stack([batch.images[place] for place in places]))  # decoded pixels are interleaved
    if pixels[0].size <= _LARGE:
        return [compute(pixels, recipe)]
    return [compute(pixels[:, c : c + 1], recipe) for c in range(3)]  # a third of the memory


def _finish(places: list[int], channels: list[Callable[[], Computed]], progress: Progress) -> Group:
    parts = [wait() for wait in channels]
    progress.repaired += sum(part.repaired for part in parts)
    if len(parts) == 1:
        return Group(places, parts[0].cuts, parts[0].rows)
    rows = {name: np.concatenate([part.rows[name] for part in parts], axis=1) for name in parts[0].rows}
    return Group(places, join([part.cuts for part in parts]), rows)


def _encoded(batch: Batch, groups: list[Group], variants: tuple[Variant, ...]) -> Encoded:
    """Returns the image files, statistics, digests and rows of a batch, in its order."""
    encoded: dict[Variant, list[PackedFiles]] = {variant: [] for variant in variants}
    statistics, digests = dict.fromkeys(variants, Statistics()), dict.fromkeys(variants, 0)
    all_seeds = batch.seeds()
    for group in groups:
        seeds = [all_seeds[place] for place in group.places]
        for variant, cut in group.cuts.items():
            statistics[variant] += cut.statistics
            digests[variant] += pixel_digest.batch_digest(cut.pixels, seeds)
            encoded[variant].append(_encode(variant, cut.pixels))
    order = np.argsort([place for group in groups for place in group.places])
    files = {variant: _in_order(parts, order) for variant, parts in encoded.items()}
    names = groups[0].rows
    rows = {name: np.concatenate([group.rows[name] for group in groups])[order] for name in names}
    return Encoded(batch, batch.heads({variant.form for variant in variants}), files, statistics, digests, rows)


def _in_order(parts: list[PackedFiles], order: np.ndarray) -> PackedFiles:
    """Joins the files of a batch's groups; ``order`` holds the place among them of each image of the batch."""
    if len(parts) == 1:  # all images have one size, so they are in order
        return parts[0]
    files = [file for part in parts for file in part.split()]
    return PackedFiles.of(files[place] for place in order)


def _encode(variant: Variant, pixels: np.ndarray) -> PackedFiles:
    if variant.exact:
        return npy.encode(pixels)
    return png.encode(pixels, png.NONE if variant.signed else png.AVERAGE)
