"""The class folders of a tree: one class per name, however Unicode spells it, with the images directly in its folder."""

import os
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.splits import exact_split
from pipeline.sources.tree import Files, Folders, list_files

_PILES = frozenset({"images", "image", "imgs", "img", "jpegimages", "jpg", "png", "unlabeled", "unlabelled"})


class ClassFolder(NamedTuple):
    """One class in one split.

    Attributes:
        name: of the class, the same in all splits.
        path: of its folder, relative to the root.
        files: in it and below.
    """

    name: str
    path: str
    files: Files


class ClassNames(NamedTuple):
    """The class names of a tree.

    Attributes:
        by_folder: the class of each folder's name.
        merged: the spellings of each class that is written in two ways, escaped.
    """

    by_folder: dict[str, str]
    merged: dict[str, list[str]]


def name_classes(root: str, trees: Mapping[str, tuple[str, Folders]]) -> ClassNames:
    """Returns the classes of all splits. Names that differ only in their Unicode normal form (NFC, NFD) are one class.

    A class is called as its folders are. Where their spellings differ, it is called by the NFC form.

    Args:
        trees: by split, the path of its folder and its content.

    Raises:
        PipelineError: one split has two folders whose names are the same in NFC.
    """
    spellings: dict[str, set[str]] = {}
    for path, folders in trees.values():
        forms: dict[str, str] = {}
        for folder in folders.names:
            form = unicodedata.normalize("NFC", folder)
            if form in forms:
                raise PipelineError(
                    f"{os.path.join(root, path)} has two folders for one class, {forms[form]!a} and {folder!a}: their names "
                    "look the same (Unicode NFC and NFD); merge the folders, or rename one"
                )
            forms[form] = folder
            spellings.setdefault(form, set()).add(folder)
    by_folder = {folder: form if len(names) > 1 else folder for form, names in spellings.items() for folder in names}
    return ClassNames(
        by_folder, {form: sorted(map(ascii, names)) for form, names in spellings.items() if len(names) > 1}
    )


def list_classes(root: str, path: str, folders: Folders, names: ClassNames) -> list[ClassFolder]:
    """Lists the classes of one split, bytewise sorted by class name.

    Args:
        path: of the split's folder, relative to the root, with "/" at the end, or "".
        folders: its content.

    Raises:
        PipelineError: a folder cannot be listed, or holds other folders but no images: it is no class.
    """
    classes = []
    for folder in folders.names:
        files = list_files(os.path.join(root, path + folder))
        _check_class(os.path.join(root, path + folder), files)
        classes.append(ClassFolder(names.by_folder[folder], path + folder, files))
    return sorted(classes, key=lambda listed: os.fsencode(listed.name))


def _check_class(folder: str, files: Files) -> None:
    below = sorted({path.partition("/")[0] for path, _ in files.files if "/" in path}, key=os.fsencode)
    splits = {split for name in below if (split := exact_split(name))}
    if len(splits) > 1:
        raise PipelineError(
            f"{folder} contains the folders {', '.join(below[:3])}, which are named like splits: a split holds the classes, "
            f"as in train/<class>/...; if {folder} holds the splits, give it as --data-dir"
        )
    if below and all("/" in path for path, _ in files.files):
        examples = ", ".join(below[:3]) + (", ..." if len(below) > 3 else "")
        raise PipelineError(
            f"{folder} contains only folders ({examples}), so it is no class: images must be directly in the folder of "
            f"their class. If these folders are the classes or splits, give --data-dir {folder}; else move their images up"
        )


def refuse_pile(root: str, splits: Mapping[str, list[ClassFolder]]) -> None:
    """Raises PipelineError if all images of a split are in one folder like ``images`` that the first split does not have."""
    first, *others = splits
    first_classes = {listed.name for listed in splits[first]}
    for split in others:
        names = [listed.name for listed in splits[split]]
        if len(names) == 1 and names[0].lower() in _PILES and names[0] not in first_classes:
            raise PipelineError(
                f"{os.path.join(root, splits[split][0].path)} holds all images of the split {split}, but {first} has no "
                "class of that name: their labels are unknown. Sort them into class folders, or move the folder elsewhere"
            )
