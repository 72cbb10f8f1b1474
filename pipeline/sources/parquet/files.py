"""Finds the Parquet files in a folder as ``hf download`` leaves it, and the split of each."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.splits import SPELLINGS, exact_split, folders_by_split, in_order, split_in, splits_in
from pipeline.sources.tree import folders_beside, images_beside, list_folders, list_names

SUFFIX = ".parquet"
_DEEPEST = 3  # folders below the root, as in default/train/0000.parquet
# As ``datasets`` names shards: SPLIT-00000-of-00004.parquet, or with a digest before the suffix.
_SHARD = re.compile(r"(?P<split>[A-Za-z0-9_]{1,40})-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")


class ParquetFiles(NamedTuple):
    """The files of a source.

    Attributes:
        splits: files by split, paths relative to the root, bytewise sorted.
        left_out: what is not read, and why.
        readings: what was recognised in names, for the user.
    """

    splits: dict[str, list[str]]
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


def find_files(root: Path) -> ParquetFiles:
    """Finds the Parquet files of one dataset.

    They are in ``root``, in its only folder with such files (``data``, or that of the only configuration), or in one folder
    per split. The split is in the names of the files, or else in those of their folders. Hidden folders are not searched.

    Raises:
        PipelineError: there are none, there are several configurations, or a file's split is not clear.
    """
    if not root.is_dir():
        fault = "is a file" if root.exists() else "does not exist"
        raise PipelineError(f"{root} {fault}: --data-dir takes the folder that holds the files (*.parquet)")
    found = _find(root, "", _DEEPEST)
    if found is None:
        raise PipelineError(f"{root} holds no Parquet files: --data-dir takes the folder that holds them (*.parquet)")
    return found


def _find(root: Path, folder: str, depth: int) -> ParquetFiles | None:
    own = _files(root, folder)
    names = list_folders(str(root / folder)).names if depth else []
    below = {name: path for name in names if _has_files(root, path := os.path.join(folder, name), depth - 1)}
    if own:
        if inside := [name for name in below if split_in(name)]:
            raise PipelineError(
                f"{root / folder} holds Parquet files itself ({os.path.basename(own[0])}) and in {inside[0]}/: move those "
                "elsewhere that are not meant"
            )
        found = _by_name(root, own)
        beside = folders_beside(below, "Parquet files")
        images = images_beside(list_names(root / folder), "Parquet files")
        return found._replace(left_out=(*beside, *images, *_missing(own)))
    if not below:
        return None
    if all(split_in(name) for name in below):
        return _by_folder(root, below)
    if len(below) == 1:
        return _find(root, next(iter(below.values())), depth - 1)
    raise PipelineError(
        f"{root / folder} holds several configurations, {_listed(below)}: give the folder of one of them as --data-dir, "
        f"such as {root / folder / next(iter(below))}"
    )


def _files(root: Path, folder: str) -> list[str]:
    """Returns the Parquet files directly in a folder, bytewise sorted. Raises PipelineError."""
    names = list_names(root / folder)
    return [os.path.join(folder, name) for name in names if name.lower().endswith(SUFFIX) and name[0] not in "._"]


def _has_files(root: Path, folder: str, depth: int) -> bool:
    if _files(root, folder):
        return True
    names = list_folders(str(root / folder)).names if depth else []
    return any(_has_files(root, os.path.join(folder, name), depth - 1) for name in names)


def _by_folder(root: Path, below: dict[str, str]) -> ParquetFiles:
    folders = folders_by_split(root, {path: split_in(name) or "" for name, path in below.items()})
    splits = {split: _files(root, folders[split]) for split in in_order(folders)}
    for split, files in splits.items():
        if not files:
            raise PipelineError(f"{root / folders[split]} holds no Parquet files itself, only its folders do")
    return ParquetFiles(
        splits, readings=tuple(f"{path}/ is the split {split}" for split, path in folders.items() if path != split)
    )


def _by_name(root: Path, files: list[str]) -> ParquetFiles:
    splits: dict[str, list[str]] = {}
    readings: dict[str, str] = {}
    for file in files:
        split = _split(root, file)
        splits.setdefault(split, []).append(file)
        if split and not os.path.basename(file).startswith(split):
            readings.setdefault(split, f"{file} and others are the split {split}")
    if "" in splits and len(splits) > 1:
        other = next(split for split in splits if split)
        raise PipelineError(
            f"{root / splits[''][0]} names no split, but {splits[other][0]} does: rename it, or use one folder per split "
            f"({SPELLINGS})"
        )
    if "" in splits:
        return ParquetFiles({"train": splits[""]})
    return ParquetFiles({split: splits[split] for split in in_order(splits)}, readings=tuple(readings.values()))


def _missing(files: Iterable[str]) -> Iterator[str]:
    """Yields a line for each split whose names, such as train-00000-of-00002, count more files than there are."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if match := _SHARD.fullmatch(os.path.basename(file)[: -len(SUFFIX)]):
            numbers.setdefault((match["split"], int(match["count"])), set()).add(int(match["number"]))
    for (split, count), present in numbers.items():
        if len(present) < count:
            first = next(number for number in itertools.count() if number not in present)
            yield (
                f"files of {split} that are missing: {count - len(present):,} of {count:,} by their names "
                f"(the first is {split}-{first:05d}-of-{count:05d})"
            )


def _split(root: Path, file: str) -> str:
    """Returns the split that a file's name names, or "". A name that ``datasets`` gave says it exactly."""
    stem = os.path.basename(file)[: -len(SUFFIX)]
    if match := _SHARD.fullmatch(stem):
        return exact_split(match["split"]) or match["split"]
    named = splits_in(stem)
    if len(named) > 1:
        raise PipelineError(f"{root / file} names the splits {' and '.join(sorted(named))}: rename it")
    return named[0] if named else ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join([*names[:5], "..."] if len(names) > 5 else names)
