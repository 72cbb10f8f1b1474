"""Images to study: from an output of the builder, from a dataset as it is, or from a file of CIFAR-10 records."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.data import RankDataset, open_output
from pipeline.errors import PipelineError, Undecodable, UsageError
from pipeline.numerics.geometry import Geometry
from pipeline.planning.plan import key
from pipeline.sources import open_source
from pipeline.sources.cifar import manifest

_RECORD = 1 + 3 * 32 * 32
_BATCH = 10_000  # images of an official batch file


@dataclass(frozen=True)
class Images:
    """Labelled images of one size, in memory.

    Attributes:
        pixels: uint8 (n, h, w, 3), grey levels.
        labels: int64 (n,), positions in ``classes``.
        keys: as in an output of the builder: ``test-00000042`` for image 42 of the source's order.
        classes: names.
        origin: where they are from, for figures and settings.
    """

    pixels: np.ndarray
    labels: np.ndarray
    keys: list[str]
    classes: list[str]
    origin: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def first(self, limit: int | None) -> "Images":
        """The first ``limit`` of them; all for None."""
        return self.at(np.arange(min(len(self), len(self) if limit is None else limit)))

    def at(self, places: np.ndarray) -> "Images":
        """Those at ``places``, int (m,)."""
        keys = [self.keys[i] for i in places.tolist()]
        return replace(self, pixels=self.pixels[places], labels=self.labels[places], keys=keys)


def from_output(root: Path, split: str = "test", limit: int | None = None, variant: str = "full") -> Images:
    """Images of one variant of a finished output.

    Raises:
        UsageError: the output has no such variant or split, or its images differ in size or are ``-exact``.
        PipelineError: there is no finished output, or it is damaged.
    """
    output = open_output(root)
    if variant == "full" and variant not in output.variants:
        raise UsageError(f"{root} has no variant full, which this takes: build it with --components full")
    data = RankDataset(root, variant, split)
    if data.part.shape is None or data.part.form != "png":
        raise UsageError(
            f"{root}: images of {variant} differ in size or are no PNG files: this takes 8-bit ones of one size"
        )
    count = len(data) if limit is None else min(limit, len(data))
    pixels = (
        np.stack([np.asarray(data.decode(at)) for at in range(count)]) if count else np.empty((0, *data.part.shape, 3))
    )
    labels = np.array(data.targets[:count], np.int64)
    keys = [data.key(at) for at in range(count)]
    return _some(
        Images(pixels.astype(np.uint8, copy=False), labels, keys, data.classes, f"{root}, {variant}, {data.split}")
    )


def from_source(
    dataset: str,
    data_dir: Path | None = None,
    split: str = "test",
    limit: int | None = None,
    geometry: Geometry | None = None,
    allow_unverified: bool = False,
) -> Images:
    """Images of a raw dataset, as ``pipeline.build`` would read them.

    Where the source is sorted by class, ``limit`` takes images spread evenly over it.

    Args:
        geometry: resizes and crops; None for the dataset's own way.

    Raises:
        UsageError: unknown dataset or split, or images that differ in size.
        PipelineError: the data is missing or damaged.
    """
    source = open_source(dataset, data_dir, allow_unverified=allow_unverified)
    index = source.index()
    if split not in index.splits:
        raise UsageError(f"split {split!r}: {dataset} has {', '.join(index.splits)}")
    entries, geometry = index.splits[split], geometry or source.default_geometry
    count = len(entries) if limit is None else min(limit, len(entries))
    places = np.arange(count) if source.default_order == "source" else np.arange(count) * len(entries) // max(count, 1)
    planes = []
    for place in places.tolist():
        entry = entries.entry(place)
        try:
            planes.append(geometry.apply(source.decode(source.read(entry)).pixels))
        except (Undecodable, OSError) as error:
            raise PipelineError(
                f"{entry.name} cannot be read: {error}; take it out, or build an output, which rejects it"
            ) from None
        if planes[-1].shape != planes[0].shape:
            raise UsageError(f"{dataset}: images differ in size ({entry.name}): give --resize and --crop")
    pixels = np.stack(planes).transpose(0, 2, 3, 1) if planes else np.empty((0, 1, 1, 3), np.uint8)
    labels, keys = entries.labels[places].astype(np.int64), [key(split, place) for place in places.tolist()]
    return _some(Images(np.ascontiguousarray(pixels), labels, keys, index.classes, f"{index.title}, {split}"))


def from_records(path: Path, limit: int | None = None) -> Images:
    """Images of a file in CIFAR-10's binary format, an official batch or its beginning.

    Keys are the builder's where the name begins as an official batch's does (``test_batch...``, ``data_batch_2...``).

    Raises:
        PipelineError: it cannot be read, or is no whole number of records.
    """
    try:
        size = path.stat().st_size
        records = np.fromfile(path, np.uint8, count=-1 if limit is None else limit * _RECORD)
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    classes = list(manifest.load("cifar10").classes)
    if size % _RECORD or not size or records[::_RECORD].max(initial=0) >= len(classes):
        raise PipelineError(f"{path} holds no CIFAR-10 records of {_RECORD} bytes, label first (the binary format)")
    records = records.reshape(-1, _RECORD)
    pixels = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    split, start = _place(path.name)
    keys = [key(split, start + row) for row in range(len(records))]
    return _some(Images(pixels, records[:, 0].astype(np.int64), keys, classes, path.name))


def _place(name: str) -> tuple[str, int]:
    """Split and first image, in the source's order, of a batch file."""
    batch = re.match(r"data_batch_([1-5])", name)
    if batch:
        return "train", (int(batch[1]) - 1) * _BATCH
    return ("test" if name.startswith("test_batch") else name.partition(".")[0]), 0


def _some(images: Images) -> Images:
    if not len(images):
        raise UsageError(f"{images.origin}: no images")
    return images
