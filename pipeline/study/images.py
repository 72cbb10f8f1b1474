"""Loads the images of a study: from an output of the builder, from a dataset, or from a file of CIFAR-10 records."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.data import RankDataset, open_output
from pipeline.data.output import split_name
from pipeline.errors import PipelineError, Undecodable, UsageError
from pipeline.formats.sample_key import sample_key
from pipeline.numerics.geometry import Geometry
from pipeline.sources import open_source
from pipeline.sources.cifar import manifest
from pipeline.sources.class_list import ClassList
from pipeline.study.class_names import shown_names

_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then three planes
_BATCH = 10_000  # images of an official batch file


@dataclass(frozen=True)
class Images:
    """Labelled images of one size, in memory.

    Attributes:
        pixels: uint8 (n, h, w, 3), grey levels.
        labels: int64 (n,), positions in ``classes``.
        keys: the builder's keys: ``test-00000042`` is image 42 of the split, in the source's order.
        classes: names of the classes.
        origin: where the images come from, for figures and settings.
    """

    pixels: np.ndarray
    labels: np.ndarray
    keys: list[str]
    classes: list[str]
    origin: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """Names of the classes for figures: ``tench`` for ImageNet's n01440764."""
        return shown_names(self.classes)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def first(self, limit: int | None) -> "Images":
        """Returns the first ``limit`` images; all images for None."""
        return self.at(np.arange(min(len(self), len(self) if limit is None else limit)))

    def at(self, positions: np.ndarray) -> "Images":
        """Returns the images at ``positions``, int (m,), in that order."""
        keys = [self.keys[i] for i in positions.tolist()]
        return replace(self, pixels=self.pixels[positions], labels=self.labels[positions], keys=keys)

    def with_labels_of(self, class_list: ClassList) -> "Images":
        """Returns the images with the classes and labels of a list. Raises PipelineError if it lacks one of theirs."""
        used = np.unique(self.labels)
        labels = class_list.labels([self.classes[label] for label in used.tolist()], self.origin)
        place = np.zeros(len(self.classes), np.int64)
        place[used] = list(labels.values())
        return replace(self, labels=place[self.labels], classes=class_list.names)


def from_output(root: Path, split: str = "test", limit: int | None = None, variant: str = "full") -> Images:
    """Returns the images of one variant of a finished output.

    Raises:
        UsageError: the output has no such variant or split, its images differ in size, or they are no PNG files.
        PipelineError: the output is unfinished, missing or damaged.
    """
    output = open_output(root)
    if variant == "full" and variant not in output.variants:
        raise UsageError(f"{root} has no variant full: build it with --components full")
    data = RankDataset(root, variant, split)
    if data.part.shape is None or data.part.form != "png":
        raise UsageError(
            f"{root}: the images of {variant} differ in size or are no PNG files: give 8-bit images of one size"
        )
    count = len(data) if limit is None else min(limit, len(data))
    pixels = np.empty((count, *data.part.shape, 3), np.uint8)
    for i in range(count):
        pixels[i] = np.asarray(data.decode(i))
    labels = np.array(data.targets[:count], np.int64)
    keys = [data.key(i) for i in range(count)]
    origin = f"{root}, {variant}, {data.split}"
    return _not_empty(Images(pixels, labels, keys, data.classes, origin))


def from_source(
    dataset: str,
    data_dir: Path | None = None,
    split: str = "test",
    limit: int | None = None,
    geometry: Geometry | None = None,
    allow_unverified: bool = False,
) -> Images:
    """Returns the images of a dataset, as ``pipeline.build`` would read them.

    If the source is sorted by class, ``limit`` selects images at even distances over the whole split.

    Args:
        geometry: how images are resized and cropped; None for the dataset's default.

    Raises:
        UsageError: the dataset or split does not exist, or the images differ in size.
        PipelineError: the data is missing or damaged.
    """
    source = open_source(dataset, data_dir, allow_unverified=allow_unverified)
    index = source.index()
    name = split_name(split, index.splits)
    if name is None:
        raise UsageError(f"split {split!r}: {dataset} has {', '.join(index.splits)}")
    split = name
    entries, geometry = index.splits[split], geometry or source.default_geometry
    count = len(entries) if limit is None else min(limit, len(entries))
    in_order = source.default_order == "source"
    positions = np.arange(count) if in_order else np.arange(count) * len(entries) // max(count, 1)
    planes = []
    for position in positions.tolist():
        entry = entries.entry(position)
        try:
            planes.append(geometry.apply(source.decode(source.read(entry)).pixels))
        except (Undecodable, OSError) as error:
            raise PipelineError(
                f"{entry.name} cannot be read: {error}; remove it, or build an output, which rejects it"
            ) from None
        if planes[-1].shape != planes[0].shape:
            raise UsageError(f"{dataset}: images differ in size ({entry.name}): give --resize and --crop")
    pixels = np.stack(planes).transpose(0, 2, 3, 1) if planes else np.empty((0, 1, 1, 3), np.uint8)
    labels, keys = entries.labels[positions].astype(np.int64), [sample_key(split, i) for i in positions.tolist()]
    return _not_empty(Images(np.ascontiguousarray(pixels), labels, keys, index.classes, f"{index.title}, {split}"))


def from_records(path: Path, limit: int | None = None) -> Images:
    """Returns the images of a file in CIFAR-10's binary format: an official batch, or the beginning of one.

    Keys are the builder's if the file's name begins like an official batch (``test_batch...``, ``data_batch_2...``).

    Raises:
        PipelineError: the file cannot be read, or its size is no multiple of a record's.
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
    split, start = _split_and_start(path.name)
    keys = [sample_key(split, start + row) for row in range(len(records))]
    return _not_empty(Images(pixels, records[:, 0].astype(np.int64), keys, classes, path.name))


def _split_and_start(name: str) -> tuple[str, int]:
    """Returns the split of a batch file, and the position of its first image in the split."""
    batch = re.match(r"data_batch_([1-5])", name)
    if batch:
        return "train", (int(batch[1]) - 1) * _BATCH
    return ("test" if name.startswith("test_batch") else name.partition(".")[0]), 0


def _not_empty(images: Images) -> Images:
    if not len(images):
        raise UsageError(f"{images.origin}: no images")
    return images
