"""The source ImageNet (ILSVRC 2012): official archives or folders, with the same names and order in every form."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import Geometry
from pipeline.sources.class_list import ClassList, read_class_list
from pipeline.sources.imagenet import manifest as official
from pipeline.sources.imagenet.archive import list_train, list_val
from pipeline.sources.imagenet.labels import find_labels
from pipeline.sources.imagenet.locate import Place, locate
from pipeline.sources.imagenet.manifest import ImagenetManifest
from pipeline.sources.imagenet.tree import is_flat, list_flat, list_tree
from pipeline.sources.images import decode_image
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_file
from pipeline.sources.tars.members import read_member

_HEADER_NAME = 90  # bytes; a member's header holds shorter names whole, whatever folder is before them


def open_imagenet(data_dir: Path, classes: Path | None = None) -> "Imagenet":
    """Finds ImageNet in a folder. Raises PipelineError if there is none.

    Args:
        classes: as in ``Imagenet``.
    """
    root = Path(os.path.abspath(data_dir))  # workers have another current directory
    manifest = official.load()
    try:
        located = locate(manifest, root)
        return Imagenet(root, tuple(located.places.items()), located.left_out, located.readings, classes)
    except OSError as error:
        raise PipelineError(f"{error.filename or root} cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class Imagenet:
    """The splits ``train`` and ``val``, or one of them, each as an archive or as a folder.

    An entry's name is ``<synset>/<file name>`` in every form, and the order is bytewise by (synset, file name). Classes
    are the synsets that have an image, in the official order: with all of them labels are the official 0..999.

    Attributes:
        classes: a class list that has a place for every synset, as for ``read_class_list``; its labels are used instead.
    """

    root: Path
    places: tuple[tuple[str, Place], ...]
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    classes: Path | None = None
    default_order = "shuffled"  # without annotation: an attribute of the class, not a field
    default_geometry = Geometry(resize=256, crop=224)

    def index(self) -> SourceIndex:
        """Lists every image. Archives are scanned once, later the saved index is used.

        Raises:
            PipelineError: an archive is cut off or another one, a synset is unknown, or labels are missing.
        """
        manifest = official.load()
        splits = {split: self._list(manifest, split, place) for split, place in self.places}
        class_list = read_class_list(self.classes) if self.classes else None
        classes = _label(splits.values(), list(manifest.synsets))
        note = _note(manifest, classes, splits, class_list)
        if class_list:
            labels = class_list.labels(classes, str(self.root))
            place = np.array([labels[synset] for synset in classes], np.int32)
            for index in splits.values():
                index.labels[:] = place[index.labels]
            classes = class_list.names
        return SourceIndex(
            classes=classes,
            splits=splits,
            shape=None,
            title=manifest.title,
            terms=manifest.terms,
            note=note,
            left_out=self.left_out,
            readings=self.readings,
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the image file, or its first bytes. Raises OSError, also if its archive or file has changed."""
        path = os.path.join(self.root, entry.file)
        for _, place in self.places:
            if place.file == entry.file and place.bytes is not None:
                size = os.stat(path).st_size
                if size != place.bytes:
                    raise OSError(f"{path} has {size:,} bytes, it had {place.bytes:,} when it was indexed")
                name = os.fsencode(os.path.basename(entry.name))
                return read_member(path, entry.offset, entry.size, name if len(name) < _HEADER_NAME else b"", most)
        return read_file(path, entry.size, most)

    def decode(self, raw: bytes) -> Picture:
        """Decodes an image. Raises Undecodable."""
        return decode_image(raw)

    def _list(self, manifest: ImagenetManifest, split: str, place: Place) -> SplitIndex:
        """Lists a split in its order, with all labels 0."""
        path = self.root / place.file
        archive = place.bytes is not None
        if archive and split == "train":
            images = list_train(path, manifest.archives[split], manifest.synsets)
            return _archived(images.names, place.file, images.offsets, images.sizes)
        if archive:
            images = list_val(path, manifest.archives[split])
            names, order = _labelled(manifest, list(images.names), path, place)
            return _archived(names, place.file, images.offsets[order], images.sizes[order])
        if split == "val" and is_flat(path):
            files = list_flat(path)
            names, order = _labelled(manifest, files.names, path, place)
            return _loose(names, [f"{place.file}/{files.names[i]}" for i in order], [files.sizes[i] for i in order])
        files = list_tree(path, manifest.synsets)
        return _loose(files.names, [f"{place.file}/{name}" for name in files.names], files.sizes)


def _label(splits: Collection[SplitIndex], synsets: list[str]) -> list[str]:
    """Sets the labels of splits whose names begin with a synset. Returns the classes: the synsets that are in use."""
    official = {synset.encode(): position for position, synset in enumerate(synsets)}
    positions = [
        np.fromiter((official[name.partition(b"/")[0]] for name in index.names.encoded()), np.int32, len(index))
        for index in splits
    ]
    used = np.unique(np.concatenate([np.unique(each) for each in positions]))
    for index, each in zip(splits, positions, strict=True):
        index.labels[:] = np.searchsorted(used, each)
    return [synsets[position] for position in used.tolist()]


def _labelled(manifest: ImagenetManifest, files: list[str], path: Path, place: Place) -> tuple[list[str], np.ndarray]:
    """Returns names ``<synset>/<file>`` in bytewise order, and the position of each in ``files``, int64 (n,)."""
    labels = find_labels(place.beside, str(path), manifest.synsets)
    names = []
    for file in files:
        synset = labels.synsets.get(file)
        if synset is None:
            raise PipelineError(f"{labels.file} has no label for {file}, one of {len(files):,} images in {path}")
        names.append(f"{synset}/{file}")
    each = manifest.images["val"] // len(manifest.synsets)
    if len(names) == manifest.images["val"]:
        counts = np.unique([name.partition("/")[0] for name in names], return_counts=True)[1]
        if len(counts) != len(manifest.synsets) or (counts != each).any():
            raise PipelineError(f"{labels.file} does not give each synset {each} images: it is damaged; get it again")
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    return [names[i] for i in order], order


def _archived(names: Iterable[str], file: str, offsets: np.ndarray, sizes: np.ndarray) -> SplitIndex:
    zeros = np.zeros(len(sizes), np.int32)
    return SplitIndex(names, zeros, [file], zeros.copy(), offsets, sizes)


def _loose(names: list[str], files: list[str], sizes: list[int]) -> SplitIndex:
    count = len(names)
    return SplitIndex(
        names=names,
        labels=np.zeros(count, np.int32),
        files=files,
        file_ids=np.arange(count, dtype=np.int32),
        offsets=np.zeros(count, np.int64),
        sizes=np.array(sizes, np.int64),
    )


def _note(
    manifest: ImagenetManifest, classes: list[str], splits: dict[str, SplitIndex], class_list: ClassList | None
) -> str:
    """Returns what of the complete set is missing, for the dataset card. The same for every form of the set.

    Args:
        classes: the synsets that have images.
        class_list: gives the labels; None if they are the positions in ``classes``.
    """
    notes = []
    if class_list and len(classes) < len(class_list.names):
        notes.append(f"{len(classes):,} of {len(class_list.names):,} classes have images")
    elif not class_list and len(classes) < len(manifest.synsets):
        notes.append(f"{len(classes):,} of {len(manifest.synsets):,} classes, so that labels are not the official ones")
    for split, index in splits.items():
        if len(index) != manifest.images[split]:
            notes.append(f"{split}: {len(index):,} of {manifest.images[split]:,} images")
    return "A part of the set. " + "; ".join(notes) + "." if notes else ""
