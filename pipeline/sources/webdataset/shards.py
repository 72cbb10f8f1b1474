"""Which shards a folder of WebDataset tars holds, and which split each belongs to."""

import os
import re
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.tree import list_folders

SPLITS = ("train", "val", "validation", "test")  # in the order in which they are built
_NAMED = re.compile(rf"(?:^|(?<=[-_.]))({'|'.join(SPLITS)})(?=[-_.\d]|$)")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def find_shards(root: Path) -> dict[str, list[str]]:
    """Shards by split, relative to ``root``, bytewise sorted.

    Shards lie in one folder a split (``train/``, ``val/``, ``validation/``, ``test/``), or in ``root`` itself: there the
    split is in every name (``imagenet-train-000000.tar``), or in none, and then all are the split ``train``.

    Raises:
        PipelineError: no folder, no shards, compressed ones, or shards whose split is not clear.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise PipelineError(f"{root} {what}: --data-dir takes the folder that holds the shards (*.tar)")
    top = _tars(root, "")
    folders = list_folders(str(root)).names
    below = {name: tars for name in folders if (tars := _tars(root, name))}
    if top and (inside := [name for name in SPLITS if name in below]):
        raise PipelineError(
            f"{root} holds shards itself ({top[0]}) and in {inside[0]}/: which are meant? Move the others"
        )
    if top:
        return _by_name(root, top)
    splits = {split: below[split] for split in SPLITS if split in below}
    if splits:
        strange = [name for name in below if name not in SPLITS]
        if strange:
            raise PipelineError(f"{root / strange[0]} holds shards but is no split: allowed are {', '.join(SPLITS)}")
        return splits
    if below:
        name = next(iter(below))
        raise PipelineError(
            f"{root} holds no shards, but {name}/ does: give --data-dir that folder, or name the folders of splits "
            f"{', '.join(SPLITS)}"
        )
    raise PipelineError(f"{root} holds no shards: --data-dir takes the folder that holds them (*.tar)")


def _tars(root: Path, folder: str) -> list[str]:
    """Tars directly in a folder, relative to ``root``; hidden ones are left out. Raises PipelineError."""
    try:
        names = sorted((name for name in os.listdir(root / folder) if name[:1] != "."), key=os.fsencode)
    except OSError as error:
        raise PipelineError(f"{root / folder} cannot be listed: {error.strerror}") from None
    for name in names:
        if name.endswith(_COMPRESSED):
            raise PipelineError(f"{root / folder / name} is compressed: unpack it to a plain .tar, to be read in place")
    return [os.path.join(folder, name) for name in names if name.endswith(".tar")]


def _by_name(root: Path, tars: list[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for tar in tars:
        named = set(_NAMED.findall(tar.removesuffix(".tar")))
        if len(named) > 1:
            raise PipelineError(f"{root / tar} names the splits {' and '.join(sorted(named))}: rename it")
        splits.setdefault(named.pop() if named else "", []).append(tar)
    if "" in splits and len(splits) > 1:
        other = next(split for split in splits if split)
        raise PipelineError(
            f"{root / splits[''][0]} names no split, but {splits[other][0]} does: rename it, or use one folder a split"
        )
    return {split or "train": splits[split] for split in (*SPLITS, "") if split in splits}
