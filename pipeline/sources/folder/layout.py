"""Finds the splits of a tree of images: which folders are splits, and which are classes."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.splits import exact_split, in_order, split_in
from pipeline.sources.tree import Folders, has_images, list_folders

_USAGE = "it should hold train/<class>/... or <class>/..."


@dataclass(frozen=True)
class Layout:
    """The splits of a tree.

    Attributes:
        splits: by split, the path of its folder relative to the root: "" for a flat tree, else with "/" at the end.
        beside: folders beside the splits, which are left out.
        readings: what was recognised in names other than train, val, validation and test, for the user.
    """

    splits: dict[str, str]
    beside: list[str] = field(default_factory=list)
    readings: list[str] = field(default_factory=list)


class _Candidate(NamedTuple):
    """A folder that is named like a split. ``path`` leads to its classes, ``exact`` says that the name is a keyword."""

    name: str
    split: str
    exact: bool
    path: str
    content: Folders


def find_layout(root: str, top: Folders) -> Layout:
    """Returns the layout of a tree.

    A folder is a split if its name is a split's, in any case (``train``, ``Valid``, ``testing``), or contains one
    (``seg_train``, ``train2017``), and if it contains folders. A tree without such a folder is flat: the split ``train``.

    Args:
        top: the content of ``root``.

    Raises:
        PipelineError: there are no classes, or the names do not say which folders are splits.
    """
    candidates = [candidate for name in top.names if (candidate := _candidate(root, name))]
    splits = [candidate for candidate in candidates if candidate.content.names and not _is_class(root, candidate)]
    if not splits:
        _check_flat(root, top, candidates)
        return Layout({"train": ""})
    beside = [name for name in top.names if name not in {candidate.name for candidate in splits}]
    _check_splits(root, splits, beside)
    by_split = {candidate.split: candidate for candidate in splits}
    return Layout(
        splits={split: by_split[split].path + "/" for split in in_order(by_split)},
        beside=beside,
        readings=[
            f"{candidate.path}/ is the split {candidate.split}"
            for candidate in splits
            if candidate.path != candidate.split
        ],
    )


def _candidate(root: str, name: str) -> _Candidate | None:
    exact = exact_split(name)
    split = exact or split_in(name)
    if split is None:
        return None
    path, content = name, list_folders(os.path.join(root, name))
    if len(content.names) == 1 and split_in(content.names[0]) == split:  # seg_train/seg_train/<class>/...
        below = list_folders(os.path.join(root, name, content.names[0]))
        if below.names:
            path, content = f"{name}/{content.names[0]}", below
    return _Candidate(name, split, exact is not None, path, content)


def _is_class(root: str, candidate: _Candidate) -> bool:
    """Returns whether a folder with images beside its folders is a class with a split's word in its name (steam_train)."""
    return not candidate.exact and has_images(os.path.join(root, candidate.path))


def _check_flat(root: str, top: Folders, candidates: list[_Candidate]) -> None:
    """Raises PipelineError if a tree has no class folders, or images directly in the folders of splits."""
    exact = [candidate for candidate in candidates if candidate.exact]
    different = {candidate.split for candidate in candidates}
    only_splits = len(candidates) == len(top.names) and (len(exact) == len(candidates) or len(different) > 1)
    if only_splits:
        files = top.files + sum(candidate.content.files for candidate in candidates)
        if not files:
            raise PipelineError(f"{root} is empty: {_USAGE}")
        raise PipelineError(f"{root} has {files} files but no class folders: {_USAGE}")
    if len({candidate.split for candidate in exact}) > 1:
        first, second = exact[0].name, exact[1].name
        raise PipelineError(
            f"{root} has the folders {first} and {second}, which are named like splits but hold no class folders: {_USAGE}"
        )


def _check_splits(root: str, splits: list[_Candidate], beside: list[str]) -> None:
    """Raises PipelineError if two folders are one split, or if it is not clear which folders are splits."""
    seen: dict[str, str] = {}
    for candidate in splits:
        if candidate.split in seen:
            raise PipelineError(
                f"{root} has two folders for the split {candidate.split}, {seen[candidate.split]} and {candidate.name}: "
                "move one of them elsewhere, or rename it"
            )
        seen[candidate.split] = candidate.name
    if any(candidate.exact for candidate in splits):
        return
    others = [name for name in beside if len(splits) == 1 or has_images(os.path.join(root, name))]
    if others:
        raise PipelineError(
            f"{root}: is {splits[0].name} the split {splits[0].split}, or a class as {others[0]}? Call a split's folder "
            f"{splits[0].split}, or put the images of a class directly into its folder"
        )
