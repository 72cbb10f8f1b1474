"""Finds the splits of ImageNet in a folder: each is its official archive, or a folder of images."""

import os
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.folder.tiny_imagenet import is_tiny_imagenet
from pipeline.sources.imagenet.manifest import ImagenetManifest
from pipeline.sources.splits import split_in
from pipeline.sources.tree import list_folders

SPLITS = ("train", "val")
_KAGGLE = ("ILSVRC", "Data", "CLS-LOC")


class Place(NamedTuple):
    """Where a split is stored.

    Attributes:
        file: its archive or its folder, relative to the data directory, with ``/``.
        bytes: size of the archive; None for a folder.
        beside: absolute folders that may hold the labels of validation images, the nearest first.
    """

    file: str
    bytes: int | None
    beside: tuple[Path, ...]


class Located(NamedTuple):
    """The splits in a data directory.

    Attributes:
        places: by split.
        left_out: what is not read, and why.
        readings: folders of splits with names other than train and val, for the user.
    """

    places: dict[str, Place]
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


def locate(manifest: ImagenetManifest, data_dir: Path) -> Located:
    """Finds the splits in a data directory. An archive has priority over a folder, which may be half unpacked.

    Folders are expected in the data directory or, as in Kaggle's archive, in ``ILSVRC/Data/CLS-LOC``. The data directory may
    be the folder that holds ``ILSVRC``, that folder itself, or one further down.

    Args:
        data_dir: absolute.

    Raises:
        PipelineError: the folder does not exist, holds no ImageNet, or two folders that may be the same split.
    """
    if not data_dir.is_dir():
        fault = "is a file" if data_dir.exists() else "does not exist"
        raise PipelineError(f"{data_dir} {fault}: --data-dir takes {_usage(manifest)}")
    if is_tiny_imagenet(str(data_dir)):
        raise PipelineError(
            f"{data_dir} is Tiny ImageNet as unzipped: --dataset folder reads it, and --classes imagenet gives its classes "
            "the official labels"
        )
    homes = ["", *("/".join(_KAGGLE[start:]) + "/" for start in range(len(_KAGGLE)))]
    folders = {home: _split_folders(data_dir / home) for home in homes}
    places = {}
    for split in SPLITS:
        file = manifest.archives[split].file
        archive = data_dir / file
        if archive.is_file():
            places[split] = Place(file, archive.stat().st_size, _beside(data_dir, data_dir))
            continue
        _check_finished(data_dir, file)
        for home in homes:
            if name := _choose(data_dir / home, split, folders[home]):
                places[split] = Place(home + name, None, _beside(data_dir / home, data_dir))
                break
    if not places and _synset_folders(manifest, data_dir):
        raise PipelineError(
            f"{data_dir} holds folders of classes and neither train/ nor val/: --dataset folder --classes imagenet reads "
            "it, with the official labels"
        )
    if not places:
        raise PipelineError(f"{data_dir} holds no ImageNet: --data-dir takes {_usage(manifest)}")
    return Located(places, _left_out(folders, places), _readings(places))


def _synset_folders(manifest: ImagenetManifest, data_dir: Path) -> bool:
    """Returns whether the folders of a folder are classes: synsets, or numbers as in ImageNet-V2."""
    names = list_folders(str(data_dir)).names
    return bool(names) and all(name in manifest.synsets or (name.isdigit() and len(name) < 4) for name in names)


def _check_finished(data_dir: Path, file: str) -> None:
    unfinished = sorted(path.name for path in data_dir.glob(f"{file}.*"))
    if unfinished:
        raise PipelineError(
            f"{data_dir} holds {unfinished[0]}, which looks like an unfinished download of {file}: "
            "finish it, or move it away"
        )


def _split_folders(home: Path) -> dict[str, str]:
    """Returns the split of each folder in ``home`` that is named like one; ``validation`` is ``val``."""
    names = list_folders(str(home)).names if home.is_dir() else []
    splits = {name: split for name in names if (split := split_in(name))}
    return {name: "val" if split == "validation" else split for name, split in splits.items()}


def _choose(home: Path, split: str, folders: dict[str, str]) -> str | None:
    names = [name for name, named in folders.items() if named == split]
    if split in names:
        return split
    if len(names) > 1:
        raise PipelineError(f"{home} has the folders {names[0]} and {names[1]}: call the one to use {split}")
    return names[0] if names else None


def _left_out(folders: dict[str, dict[str, str]], places: dict[str, Place]) -> tuple[str, ...]:
    used = {place.file for place in places.values()}
    unused = [home + name for home, names in folders.items() for name in names if home + name not in used]
    return (f"folders beside train and val, left out: {', '.join(unused)}",) if unused else ()


def _readings(places: dict[str, Place]) -> tuple[str, ...]:
    return tuple(
        f"{place.file}/ is the split {split}"
        for split, place in places.items()
        if place.bytes is None and place.file.rpartition("/")[2] != split
    )


def _beside(home: Path, data_dir: Path) -> tuple[Path, ...]:
    """Returns ``home``, the folders above it up to the one that holds Kaggle's ``ILSVRC``, then the data directory."""
    folders = [Path(os.path.abspath(home))]
    for name in reversed(_KAGGLE):
        if folders[-1].name != name:
            break
        folders.append(folders[-1].parent)
    return tuple(dict.fromkeys([*folders, data_dir]))


def _usage(manifest: ImagenetManifest) -> str:
    archives = " and ".join(manifest.archives[split].file for split in SPLITS)
    return f"the folder that holds {archives}, or train/ and val/, or Kaggle's ILSVRC/"
