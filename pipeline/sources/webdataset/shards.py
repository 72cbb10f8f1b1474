"""Finds the shards in a folder of WebDataset tars, and the split of each."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.splits import SPELLINGS, folders_by_split, in_order, split_in, splits_in
from pipeline.sources.tree import list_folders, list_names
from pipeline.storage.system_files import is_system_file

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Shards(NamedTuple):
    """The shards of a source.

    Attributes:
        splits: shards by split, paths relative to the root, bytewise sorted.
        left_out: what is not read, and why.
        readings: what was recognised in names other than train, val, validation and test, for the user.
    """

    splits: dict[str, list[str]]
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


class _Tars(NamedTuple):
    paths: list[str]
    hidden: int


def find_shards(root: Path) -> Shards:
    """Finds the shards in a folder.

    Shards are in one folder per split (``train/``, ``Valid/``, ``testing/``), or in ``root`` itself. There the split is in
    every name (``imagenet-train-000000.tar``), or in none: then all are the split ``train``.

    Raises:
        PipelineError: there is no folder, there are no shards, shards are compressed, or a shard's split is not clear.
    """
    if not root.is_dir():
        fault = "is a file" if root.exists() else "does not exist"
        raise PipelineError(f"{root} {fault}: --data-dir takes the folder that holds the shards (*.tar)")
    top = _tars(root, "")
    below = {name: tars for name in list_folders(str(root)).names if (tars := _below(root, name)).paths}
    if top.paths:
        if inside := [name for name in below if split_in(name)]:
            raise PipelineError(
                f"{root} holds shards itself ({top.paths[0]}) and in {inside[0]}/: move those elsewhere that are not meant"
            )
        return _by_name(root, top, below)
    if not below:
        raise PipelineError(f"{root} holds no shards: --data-dir takes the folder that holds them (*.tar)")
    return _by_folder(root, below)


def _below(root: Path, folder: str) -> _Tars:
    """Returns the tars in a folder, or in the one folder below that names the same split (train/train/)."""
    tars = _tars(root, folder)
    split = split_in(folder)
    if tars.paths or split is None:
        return tars
    inner = list_folders(str(root / folder)).names
    return _tars(root, f"{folder}/{inner[0]}") if len(inner) == 1 and split_in(inner[0]) == split else tars


def _tars(root: Path, folder: str) -> _Tars:
    """Lists the tars directly in a folder. Raises PipelineError."""
    names = list_names(root / folder)
    visible = [name for name in names if name[:1] != "."]
    for name in visible:
        if name.endswith(_COMPRESSED):
            raise PipelineError(f"{root / folder / name} is compressed: unpack it to a plain .tar, to be read in place")
    hidden = sum(name[:1] == "." and name.endswith(".tar") and not is_system_file(name) for name in names)
    return _Tars([os.path.join(folder, name) for name in visible if name.endswith(".tar")], hidden)


def _by_folder(root: Path, below: dict[str, _Tars]) -> Shards:
    named = {name: split for name in below if (split := split_in(name))}
    strange = [name for name in below if name not in named]
    if strange and named:
        raise PipelineError(
            f"{root / strange[0]} holds shards but does not name one split: a split's folder is called {SPELLINGS}"
        )
    if strange:
        raise PipelineError(
            f"{root} holds no shards, but {strange[0]}/ does: give --data-dir that folder, or call the folders of splits "
            f"{SPELLINGS}"
        )
    folders = folders_by_split(root, named)
    return Shards(
        splits={split: below[folders[split]].paths for split in in_order(folders)},
        left_out=_hidden(below.values()),
        readings=tuple(
            f"{name}/ is the split {split}"
            for split, name in folders.items()
            if os.path.dirname(below[name].paths[0]) != split
        ),
    )


def _by_name(root: Path, top: _Tars, below: dict[str, _Tars]) -> Shards:
    shards: dict[str, list[str]] = {}
    readings: dict[str, str] = {}
    for tar in top.paths:
        stem = tar.removesuffix(".tar")
        named = splits_in(stem)
        if len(named) > 1:
            raise PipelineError(f"{root / tar} names the splits {' and '.join(sorted(named))}: rename it")
        split = named[0] if named else ""
        shards.setdefault(split, []).append(tar)
        if split and not _plainly_named(stem, split):
            readings.setdefault(split, f"{tar} and others are the split {split}")
    if "" in shards and len(shards) > 1:
        other = next(split for split in shards if split)
        raise PipelineError(
            f"{root / shards[''][0]} names no split, but {shards[other][0]} does: rename it, or use one folder per split"
        )
    beside = [f"folders with shards beside the shards, left out: {', '.join(below)}"] if below else []
    return Shards(
        splits={"train": shards[""]} if "" in shards else {split: shards[split] for split in in_order(shards)},
        left_out=(*beside, *_hidden([top])),
        readings=tuple(readings.values()),
    )


def _plainly_named(stem: str, split: str) -> bool:
    """Returns whether the split's own name, in lower case, is in the name between ``-``, ``_`` or ``.``."""
    return re.search(rf"(?:^|(?<=[-_.])){split}(?=[-_.\d]|$)", stem) is not None


def _hidden(tars: Iterable[_Tars]) -> tuple[str, ...]:
    hidden = sum(listed.hidden for listed in tars)
    return (f"hidden shards (leading dot), left out: {hidden}",) if hidden else ()
