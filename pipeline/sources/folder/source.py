"""The source of a tree of image files, one folder per class, as torchvision's ``ImageFolder`` reads it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.class_list import ClassList, images_per_class, read_class_list
from pipeline.sources.folder.classes import ClassFolder, list_classes, name_classes, refuse_pile
from pipeline.sources.folder.layout import find_layout
from pipeline.sources.folder.notes import make_notes
from pipeline.sources.folder.tiny_imagenet import find_tiny_imagenet
from pipeline.sources.images import decode_image
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_file
from pipeline.sources.tree import Folders, list_folders

_INDICES = 1000  # folders 0 to 999 are ImageNet's labels, as in ImageNet-V2


@dataclass(frozen=True)
class Folder:
    """``root/<split>/<class>/...``, or a flat ``root/<class>/...``, which is the split ``train``.

    ``find_layout`` recognises the splits. Classes are the folders of all splits together, bytewise sorted. Every regular
    file in a class folder and below is an entry, in the bytewise order of (class, path). An entry's name is
    ``<class>/<path>``, without the split: the same images as a flat tree or as an archive have the same names.

    ``find_tiny_imagenet`` recognises Tiny ImageNet as unzipped, whose entries have the same names as in such a tree.

    Attributes:
        classes: a class list, as for ``read_class_list``, which has a place for every class. None: the labels are the
            positions of the folders' names.
    """

    root: Path
    classes: Path | None = None
    default_order = "shuffled"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Lists every file. Raises PipelineError if there are no images, or if it is not clear what the classes are."""
        class_list = read_class_list(self.classes) if self.classes else None
        root = str(self.root)
        top = _top(root)
        if tiny := find_tiny_imagenet(root, top):
            return _index(root, tiny.splits, class_list, tiny.left_out, litter=tiny.litter, readings=tiny.readings)
        layout = find_layout(root, top)
        trees = {
            split: (path, list_folders(os.path.join(root, path)) if path else top)
            for split, path in layout.splits.items()
        }
        names = name_classes(root, trees)
        splits = {split: list_classes(root, path, folders, names) for split, (path, folders) in trees.items()}
        refuse_pile(root, splits)
        notes = make_notes(layout, top, trees, splits, names)
        readings = (*layout.readings, *_new_rules(splits, trees, names.merged))
        return _index(root, splits, class_list, notes.left_out, notes.warnings, notes.litter, readings)

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the whole file, or its first bytes. Raises OSError, also if its size is not the indexed one any more."""
        path = os.path.join(self.root, entry.file)
        return read_file(path, entry.size, most)

    def decode(self, raw: bytes) -> Picture:
        """Decodes an image. Raises Undecodable."""
        return decode_image(raw)


def _top(root: str) -> Folders:
    advice = "--data-dir takes the folder that holds the classes or the splits"
    if not os.path.exists(root):
        raise PipelineError(f"{root} does not exist: {advice}")
    if not os.path.isdir(root):
        raise PipelineError(f"{root} is a file: {advice}")
    return list_folders(root)


def _index(
    root: str,
    splits: Mapping[str, list[ClassFolder]],
    class_list: ClassList | None,
    left_out: Sequence[str],
    warnings: Sequence[str] = (),
    litter: Sequence[str] = (),
    readings: Sequence[str] = (),
) -> SourceIndex:
    """Returns the index of listed class folders, with the notes about them. Raises PipelineError."""
    names = sorted({listed.name for split in splits.values() for listed in split}, key=os.fsencode)
    classes, labels, rules = _labels(root, names, class_list)
    indexes = {split: _split_index(listed, labels) for split, listed in splits.items()}
    if not any(len(index) for index in indexes.values()):
        raise PipelineError(f"{root} has class folders ({names[0]}, ...), but no file in them")
    counted = images_per_class([index.labels for index in indexes.values()], len(classes)) if class_list else ""
    return SourceIndex(
        classes=classes,
        splits=indexes,
        shape=None,
        title="Image folder",
        terms="The terms of the images in the folder apply; they are not known to this program.",
        note="; ".join([*left_out, *warnings, *filter(None, [counted])]),
        left_out=(*left_out, *litter),
        readings=(*readings, *rules),
    )


def _labels(root: str, names: list[str], class_list: ClassList | None) -> tuple[list[str], dict[str, int], list[str]]:
    """Returns the classes, the label of each class of the tree, and how its names were understood."""
    if class_list:
        return class_list.names, class_list.labels(names, root), []
    if len(names) == _INDICES and {*names} == {*map(str, range(_INDICES))}:
        names = [*map(str, range(_INDICES))]
        return names, {name: int(name) for name in names}, ["the folders 0 to 999 are the labels 0 to 999"]
    return names, {name: label for label, name in enumerate(names)}, []


def _split_index(classes: list[ClassFolder], labels: dict[str, int]) -> SplitIndex:
    counts = [len(listed.files.files) for listed in classes]
    count = sum(counts)
    return SplitIndex(
        names=[f"{listed.name}/{path}" for listed in classes for path, _ in listed.files.files],
        labels=np.repeat(np.array([labels[listed.name] for listed in classes], np.int32), counts),
        files=[f"{listed.path}/{path}" for listed in classes for path, _ in listed.files.files],
        file_ids=np.arange(count, dtype=np.int32),
        offsets=np.zeros(count, np.int64),
        sizes=np.array([size for listed in classes for _, size in listed.files.files], np.int64),
    )


def _new_rules(
    splits: Mapping[str, list[ClassFolder]],
    trees: Mapping[str, tuple[str, Folders]],
    merged: Mapping[str, list[str]],
) -> list[str]:
    """Returns the effects of rules that earlier versions did not have, besides those for names of splits."""
    system = {name for _, folders in trees.values() for name in folders.system}
    system |= {name for listed in splits.values() for one_class in listed for name in one_class.files.system}
    readings = [f"{name} belongs to the system, it is no class and no image" for name in sorted(system)[:3]]
    return readings + [f"{' and '.join(spellings)} are one class" for spellings in merged.values()]
