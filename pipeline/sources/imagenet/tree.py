"""Lists ImageNet in folders: one folder per synset, or one flat folder of validation images."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.imagenet.archive import VAL_IMAGE
from pipeline.sources.tree import list_files, list_folders


class Files(NamedTuple):
    """Images in a folder: relative paths, bytewise sorted, and sizes in bytes."""

    names: list[str]
    sizes: list[int]


def list_tree(folder: Path, synsets: Collection[str]) -> Files:
    """Lists the images of ``folder/<synset>/``, in the order of (synset, path).

    Raises:
        PipelineError: a folder is not in ``synsets``, images are outside of the folders, or there are no images.
    """
    names: list[str] = []
    sizes: list[int] = []
    folders = list_folders(str(folder)).names
    for synset in folders:
        if synset not in synsets:
            raise PipelineError(
                f"{folder / synset} is named after none of the {len(synsets):,} synsets of ILSVRC 2012: "
                "move it elsewhere, or use --dataset folder"
            )
    loose = [name for name in os.listdir(folder) if name.upper().endswith(".JPEG")]
    if loose:
        raise PipelineError(
            f"{folder} holds {len(loose):,} images beside its class folders ({min(loose)}, ...): was sorting them into "
            "folders interrupted?"
        )
    for synset in folders:
        files = list_files(str(folder / synset)).files
        names += [f"{synset}/{path}" for path, _ in files]
        sizes += [size for _, size in files]
    if not names:
        raise PipelineError(f"{folder} holds no images: it should hold a folder for each synset (n01440764/, ...)")
    return Files(names, sizes)


def is_flat(folder: Path) -> bool:
    """Returns whether the folder has no class folders: validation images are directly in it."""
    return not list_folders(str(folder)).names


def list_flat(folder: Path) -> Files:
    """Lists the validation images directly in a folder. Raises PipelineError if there are none, or other files."""
    files = list_files(str(folder)).files
    for name, _ in files:
        if not VAL_IMAGE.fullmatch(name):
            raise PipelineError(f"{folder / name} is no validation image of ILSVRC 2012: move it elsewhere")
    if not files:
        raise PipelineError(f"{folder} holds no images: it should hold ILSVRC2012_val_00000001.JPEG, ...")
    return Files([name for name, _ in files], [size for _, size in files])
