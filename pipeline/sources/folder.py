"""A tree of image files, one folder per class, as torchvision's ``ImageFolder`` reads it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.images import decode_image
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_file
from pipeline.sources.tree import Files, Folders, list_files, list_folders

SPLITS = ("train", "val", "validation", "test")  # in the order in which they are built


@dataclass(frozen=True)
class Folder:
    """``root/train/<class>/...`` with ``val``, ``validation`` or ``test`` beside it, or one flat ``root/<class>/...``.

    A flat tree is the split ``train``. Classes are the folders of all splits together, sorted bytewise; every regular
    file in a class folder and below is an entry, in bytewise order of (class, path). An entry's name is
    ``<class>/<path>``, without the split: the same images as a flat tree or as an archive have the same names.
    """

    root: Path
    default_order = "shuffled"  # no annotation: the same for all, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """List every file. Raises PipelineError where there is nothing to list."""
        root = str(self.root)
        top = _top(root)
        if miscased := [name for name in top.names if name.lower() in SPLITS and name not in SPLITS]:
            raise PipelineError(
                f"{root} has the folder {miscased[0]}: a split's folder is called {miscased[0].lower()}"
            )
        inside = {split: list_folders(os.path.join(root, split)) for split in SPLITS if split in top.names}
        splits = [split for split, folders in inside.items() if folders.names]
        if not splits:
            if not top.names or set(top.names) <= set(SPLITS):
                raise PipelineError(_no_classes(root, top, inside))
            trees = {"train": ("", top)}
        else:
            trees = {split: (f"{split}/", inside[split]) for split in splits}
        classes = sorted({name for _, folders in trees.values() for name in folders.names}, key=os.fsencode)
        labels = {name: label for label, name in enumerate(classes)}
        lists = {
            split: {name: list_files(os.path.join(root, prefix + name)) for name in folders.names}
            for split, (prefix, folders) in trees.items()
        }
        indexes = {split: _split_index(trees[split][0], found, labels) for split, found in lists.items()}
        if not any(len(index) for index in indexes.values()):
            raise PipelineError(f"{root} has class folders ({classes[0]}, ...), but no file in them")
        return SourceIndex(
            classes=classes,
            splits=indexes,
            shape=None,
            title="Image folder",
            terms="The terms of the images in the folder apply; they are not known to this program.",
            note=_note(top, trees, lists),
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """The whole file, or its first bytes. Raises OSError, also where its size is no longer the indexed one."""
        path = os.path.join(self.root, entry.file)
        return read_file(path, entry.size, most)

    def decode(self, raw: bytes) -> Picture:
        """Any image. Raises Undecodable."""
        return decode_image(raw)


def _top(root: str) -> Folders:
    if not os.path.exists(root):
        raise PipelineError(f"{root} does not exist: --data-dir takes the folder that holds the classes or the splits")
    if not os.path.isdir(root):
        raise PipelineError(f"{root} is a file: --data-dir takes the folder that holds the classes or the splits")
    return list_folders(root)


def _no_classes(root: str, top: Folders, inside: dict[str, Folders]) -> str:
    files = top.files + sum(folders.files for folders in inside.values())
    if not files:
        return f"{root} is empty: it should hold train/<class>/... or <class>/..."
    return f"{root} has {files} files but no class folders: it should hold train/<class>/... or <class>/..."


def _split_index(prefix: str, found: dict[str, Files], labels: dict[str, int]) -> SplitIndex:
    names = [f"{name}/{path}" for name, inside in found.items() for path, _ in inside.files]
    sizes = [size for inside in found.values() for _, size in inside.files]
    counts = [len(inside.files) for inside in found.values()]
    return SplitIndex(
        names=names,
        labels=np.repeat(np.array([labels[name] for name in found], np.int32), counts),
        files=[prefix + name for name in names],
        file_ids=np.arange(len(names), dtype=np.int32),
        offsets=np.zeros(len(names), np.int64),
        sizes=np.array(sizes, np.int64),
    )


def _note(top: Folders, trees: dict[str, tuple[str, Folders]], found: dict[str, dict[str, Files]]) -> str:
    """What was left out or looks wrong, for the dataset card; usually empty."""
    notes = []
    lists = [files for inside in found.values() for files in inside.values()]
    flat = "" in {prefix for prefix, _ in trees.values()}
    if not flat and (others := [name for name in top.names if name not in trees]):
        notes.append(f"folders beside the splits, left out: {', '.join(others)}")
    loose = sum(folders.files for _, folders in trees.values()) + (0 if flat else top.files)
    if loose:
        notes.append(f"files outside the class folders, left out: {loose}")
    hidden = sum(files.hidden for files in lists) + sum(folders.hidden for _, folders in trees.values())
    if hidden:
        notes.append(f"hidden files and folders (leading dot), left out: {hidden}")
    if special := sum(files.special for files in lists):
        notes.append(f"pipes, sockets and devices, left out: {special}")
    for split, inside in found.items():
        if bare := [name for name, files in inside.items() if not files.files]:
            notes.append(f"classes of {split} without a file: {len(bare)} ({bare[0]}, ...)")
    known = set(trees["train"][1].names) if "train" in trees else set()
    for split, (_, folders) in trees.items():
        if known and (strange := [name for name in folders.names if name not in known]):
            notes.append(f"classes of {split} that train does not have: {len(strange)} ({strange[0]}, ...)")
    return "; ".join(notes)
