"""Which form of ImageNet lies in a folder: for each split its official archive, or its folder of images."""

import os
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.imagenet.manifest import ImagenetManifest

SPLITS = ("train", "val")
_KAGGLE = ("ILSVRC", "Data", "CLS-LOC")


class Place(NamedTuple):
    """Where a split lies.

    Attributes:
        file: its archive or its folder, relative to the data directory, with ``/``.
        bytes: of the archive; None where it is a folder.
        beside: absolute folders in which labels of validation images may lie, the nearest first.
    """

    file: str
    bytes: int | None
    beside: tuple[Path, ...]


def locate(manifest: ImagenetManifest, data_dir: Path) -> dict[str, Place]:
    """The splits in a data directory, by name; an archive goes before a folder, which may be half unpacked.

    Folders are looked for in the data directory and, as Kaggle's archive has them, in ``ILSVRC/Data/CLS-LOC``, whether
    the data directory is what holds ``ILSVRC``, that folder itself, or one further down.

    Args:
        data_dir: absolute.

    Raises:
        PipelineError: there is no such folder, or nothing of ImageNet in it.
    """
    if not data_dir.is_dir():
        what = "is a file" if data_dir.exists() else "does not exist"
        raise PipelineError(f"{data_dir} {what}: --data-dir takes {_wanted(manifest)}")
    homes = ["", *("/".join(_KAGGLE[start:]) + "/" for start in range(len(_KAGGLE)))]
    places = {}
    for split in SPLITS:
        file = manifest.archives[split].file
        archive = data_dir / file
        if archive.is_file():
            places[split] = Place(file, archive.stat().st_size, _beside(data_dir, data_dir))
            continue
        unfinished = sorted(path.name for path in data_dir.glob(f"{file}.*"))
        if unfinished:
            raise PipelineError(
                f"{data_dir} holds {unfinished[0]}, which looks like an unfinished download of {file}: "
                "finish it, or move it away"
            )
        for home in homes:
            if (data_dir / home / split).is_dir():
                places[split] = Place(home + split, None, _beside(data_dir / home, data_dir))
                break
    if not places:
        raise PipelineError(f"{data_dir} holds no ImageNet: --data-dir takes {_wanted(manifest)}")
    return places


def _beside(home: Path, data_dir: Path) -> tuple[Path, ...]:
    """``home``, then upwards as far as the folder that holds Kaggle's ``ILSVRC``, then the data directory."""
    folders = [Path(os.path.abspath(home))]
    for name in reversed(_KAGGLE):
        if folders[-1].name != name:
            break
        folders.append(folders[-1].parent)
    return tuple(dict.fromkeys([*folders, data_dir]))


def _wanted(manifest: ImagenetManifest) -> str:
    archives = " and ".join(manifest.archives[split].file for split in SPLITS)
    return f"the folder that holds {archives}, or train/ and val/, or Kaggle's ILSVRC/"
