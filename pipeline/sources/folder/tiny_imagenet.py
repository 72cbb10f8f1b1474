"""Tiny ImageNet as unzipped: images in ``train/<class>/images/`` and ``val/images/``, labels of the latter in a table."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError, one_line
from pipeline.sources.folder.classes import ClassFolder
from pipeline.sources.text_files import read_text
from pipeline.sources.tree import IMAGE_SUFFIXES, Files, Folders, list_files, list_folders
from pipeline.storage.files import TooLong

TABLE = "val_annotations.txt"
_LARGEST = 64 << 20  # bytes of the table; the official one has half a million
_IMAGES = "images"


class TinyImagenet(NamedTuple):
    """The splits of Tiny ImageNet, and what is left out of it: ``left_out`` is data, ``litter`` is not."""

    splits: dict[str, list[ClassFolder]]
    left_out: list[str]
    litter: list[str]
    readings: list[str]


def is_tiny_imagenet(root: str) -> bool:
    """Returns whether a folder is Tiny ImageNet as unzipped, or its folder ``val``."""
    return any(os.path.isfile(os.path.join(root, *place, TABLE)) for place in (("val",), ()))


def find_tiny_imagenet(root: str, top: Folders) -> TinyImagenet | None:
    """Returns the splits of Tiny ImageNet as unzipped. None if the folder is something else.

    The folder may also be its ``train`` or its ``val``. ``val`` may have been sorted into class folders.

    Args:
        top: the content of ``root``.

    Raises:
        PipelineError: the table is damaged or lacks an image, or a folder holds images in two places.
    """
    whole = "train" in top.names or "val" in top.names
    if not is_tiny_imagenet(root) and not _is_train(root, "train/" if whole else ""):
        return None
    folders = {split: f"{split}/" for split in ("train", "val") if split in top.names}
    if not whole:
        folders = {"val": ""} if os.path.isfile(os.path.join(root, TABLE)) else {"train": ""}
    splits: dict[str, list[ClassFolder]] = {}
    litter, missing = top.files if whole else 0, 0
    for split, folder in folders.items():
        if split == "val":
            splits[split], beside, missing = _val(root, folder)
        else:
            splits[split], beside = _class_folders(root, folder)
        litter += beside
    left_out = []
    if missing:
        left_out.append(f"images of {TABLE} that are missing: {missing:,}")
    if whole and "test" in top.names:
        images = len(list_files(os.path.join(root, "test")).files)
        left_out.append(f"images of test, which have no labels, left out: {images:,}")
    if whole and (others := [name for name in top.names if name not in ("train", "val", "test")]):
        left_out.append(f"folders beside the splits, left out: {', '.join(others)}")
    return TinyImagenet(
        splits,
        left_out,
        [f"lists and boxes of Tiny ImageNet, left out: {litter:,}"] if litter else [],
        [f"{one_line(os.path.basename(root))} is Tiny ImageNet as unzipped: images are in the folders {_IMAGES}"],
    )


def _is_train(root: str, train: str) -> bool:
    """Returns whether the first class folder holds the folder ``images`` and its boxes, ``<class>_boxes.txt``."""
    path = os.path.join(root, train)
    if not os.path.isdir(path):
        return False
    first = next(iter(list_folders(path).names), None)
    if first is None:
        return False
    boxes = os.path.isfile(os.path.join(path, first, f"{first}_boxes.txt"))
    return boxes and os.path.isdir(os.path.join(path, first, _IMAGES))


def _class_folders(root: str, split: str) -> tuple[list[ClassFolder], int]:
    """Returns the classes of a split in folders, and how many files beside the images are no images."""
    content = list_folders(os.path.join(root, split))
    classes, beside = [], content.files
    for name in content.names:
        path = split + name
        files = list_files(os.path.join(root, path))
        inside = [path for path, _ in files.files if path.startswith(f"{_IMAGES}/")]
        others = [path for path, _ in files.files if not path.startswith(f"{_IMAGES}/")]
        images = [path for path in others if path.lower().endswith(IMAGE_SUFFIXES)]
        if inside and images:
            raise PipelineError(
                f"{os.path.join(root, path)} holds images in its folder {_IMAGES} and beside it ({one_line(images[0])}): "
                "was sorting them interrupted? Move them to one place"
            )
        if inside:
            beside += len(others)
            path, files = f"{path}/{_IMAGES}", list_files(os.path.join(root, path, _IMAGES))
        else:
            beside += len(others) - len(images)
            files = files._replace(files=[file for file in files.files if file[0] in {*images}])
        classes.append(ClassFolder(name, path, files))
    return classes, beside


def _val(root: str, val: str) -> tuple[list[ClassFolder], int, int]:
    """Returns the classes of ``val``, the number of files that are no images, and the number of missing images."""
    content = list_folders(os.path.join(root, val))
    if _IMAGES not in content.names:  # sorted into class folders
        return *_class_folders(root, val), 0
    path = val + _IMAGES
    files = list_files(os.path.join(root, path))
    if others := [name for name in content.names if name != _IMAGES]:
        if files.files:
            raise PipelineError(
                f"{os.path.join(root, val)} holds the folders {_IMAGES} and {one_line(others[0])}: was sorting its images "
                "interrupted? Finish it, or move them back"
            )
        classes, beside = _class_folders(root, val)
        return [listed for listed in classes if listed.name != _IMAGES], beside, 0
    table = Path(root, val, TABLE)
    if not table.is_file():
        raise PipelineError(f"{os.path.join(root, path)} holds images, but {table}, which has their labels, is missing")
    labels = _read_table(table)
    by_class: dict[str, list[tuple[str, int]]] = {}
    for name, size in files.files:
        if name not in labels:
            raise PipelineError(
                f"{table} has no label for {one_line(name)}, one of {len(files.files):,} images in {path}"
            )
        by_class.setdefault(labels[name], []).append((name, size))
    missing = len(labels.keys() - {name for name, _ in files.files})
    classes = [ClassFolder(name, path, Files(by_class[name], 0, 0)) for name in sorted(by_class)]
    return classes, content.files, missing


def _read_table(table: Path) -> dict[str, str]:
    """Returns the class of each image. Rows are ``val_0.JPEG<TAB>n03444034<TAB>0<TAB>32<TAB>44<TAB>62``."""
    try:
        rows = read_text(table, _LARGEST, "get it again").splitlines()
    except TooLong:
        raise PipelineError(f"{table} is far larger than the official file: get it again") from None
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        name, _, rest = row.partition("\t")
        synset = rest.partition("\t")[0].strip()
        if not name or not re.fullmatch(r"n\d{8}", synset):
            raise PipelineError(f"{table}: row {number} is not an image, a tab and its class, such as n03444034")
        if labels.setdefault(name, synset) != synset:
            raise PipelineError(f"{table} gives {one_line(name)} two classes, {labels[name]} and {synset}")
    return labels
