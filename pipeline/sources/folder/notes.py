"""Notes about a tree of images: what is left out, and what looks wrong."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.sources.folder.classes import ClassFolder, ClassNames
from pipeline.sources.folder.layout import Layout
from pipeline.sources.tree import Files, Folders

Trees = Mapping[str, tuple[str, Folders]]
Classes = Mapping[str, list[ClassFolder]]


class Notes(NamedTuple):
    """Notes about a source.

    Attributes:
        left_out: what of the data is not read, and why.
        litter: what is not read because it is no data: hidden files and those of operating systems. It does not belong
            into the output, which is the same without it.
        warnings: what is read but looks wrong.
    """

    left_out: list[str]
    litter: list[str]
    warnings: list[str]


def make_notes(layout: Layout, top: Folders, trees: Trees, classes: Classes, names: ClassNames) -> Notes:
    """Returns the notes about a tree."""
    files = [listed.files for split in classes.values() for listed in split]
    folders = [content for _, content in trees.values()]
    tops = [] if "" in layout.splits.values() else [top]
    return Notes(
        _left_out(layout, files, [*folders, *tops]),
        _litter([*files, *folders], tops),
        _warnings(trees, classes, names),
    )


def _left_out(layout: Layout, files: list[Files], folders: list[Folders]) -> list[str]:
    notes = []
    if layout.beside:
        notes.append(f"folders beside the splits, left out: {', '.join(layout.beside)}")
    if loose := sum(content.files for content in folders):
        notes.append(f"files outside the class folders, left out: {loose}")
    if special := sum(content.special for content in files):
        notes.append(f"pipes, sockets and devices, left out: {special}")
    return notes


def _litter(contents: list[Files | Folders], tops: list[Folders]) -> list[str]:
    notes = []
    if hidden := sum(content.hidden for content in contents):
        notes.append(f"hidden files and folders (leading dot), left out: {hidden}")
    if system := [name for content in [*contents, *tops] for name in content.system]:
        names = ", ".join(sorted(set(system))[:5])
        notes.append(f"files and folders of operating systems and the like, left out: {len(system)} ({names})")
    return notes


def _warnings(trees: Trees, classes: Classes, names: ClassNames) -> list[str]:
    notes = []
    for split, listed in classes.items():
        if empty := [one_class.name for one_class in listed if not one_class.files.files]:
            notes.append(f"classes of {split} without a file: {len(empty)} ({empty[0]}, ...)")
    train = {listed.name for listed in classes.get("train", ())}
    for split, listed in classes.items():
        if train and (new := [one_class.name for one_class in listed if one_class.name not in train]):
            notes.append(f"classes of {split} that train does not have: {len(new)} ({new[0]}, ...)")
    for name, spellings in names.merged.items():
        notes.append(f"class {name} is written in two ways, {' and '.join(spellings)}")
    return notes
