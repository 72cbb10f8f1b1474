"""Lists the official ImageNet archives in place: a tar of one tar per synset, and a tar of validation images."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.imagenet.manifest import DATASET, Archive
from pipeline.sources.saved_index import Columns, pack, saved, unpack
from pipeline.sources.tar_members import Member, scan
from pipeline.storage.files import regular_descriptor
from pipeline.storage.system_files import is_system_file

VAL_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
_SYNSET_TAR = re.compile(r"n\d{8}\.tar")
_SCANS = 8  # at once, in one file: headers are 100 KB apart, and on a network or a cold disk each is a wait


class Images(NamedTuple):
    """Images in one archive.

    Attributes:
        names: ``<synset>/<file name>`` for train, the bare file name for val; bytewise sorted.
        offsets, sizes: int64 (n,), bytes.
    """

    names: list[str]
    offsets: np.ndarray
    sizes: np.ndarray


def list_train(path: Path, official: Archive, synsets: Collection[str]) -> Images:
    """Lists the images of ``ILSVRC2012_img_train.tar``, or of an archive like it with fewer synsets.

    Raises:
        PipelineError: the archive is cut off, damaged, another one, or holds a synset that is not in ``synsets``.
    """
    return _images(saved(DATASET, [path], "train", lambda: _scan_train(path, official, synsets)))


def list_val(path: Path, official: Archive) -> Images:
    """Lists the images of ``ILSVRC2012_img_val.tar``. Raises as ``list_train``."""
    return _images(saved(DATASET, [path], "val", lambda: _scan_val(path, official)))


def _images(columns: Columns) -> Images:
    return Images(unpack(columns["names"]), columns["offsets"], columns["sizes"])


def _scan_train(path: Path, official: Archive, synsets: Collection[str]) -> Columns:
    descriptor = _open(path)
    try:
        tars = _visible(scan(descriptor, _name(path, descriptor, official)))
        for tar in tars:
            _check_train(path, tar, synsets)
        if not tars:
            raise PipelineError(f"{path} is empty: get it again")
        _check_unique(str(path), [tar.name for tar in tars])
        tars.sort()
        with ThreadPoolExecutor(_SCANS) as pool:
            parts = list(pool.map(lambda tar: _scan_synset(descriptor, path, tar), tars))
    finally:
        os.close(descriptor)
    return {
        "names": pack([name for part in parts for name in part.names]),
        "offsets": np.concatenate([part.offsets for part in parts]),
        "sizes": np.concatenate([part.sizes for part in parts]),
    }


def _scan_synset(descriptor: int, path: Path, tar: Member) -> Images:
    synset = tar.name.removesuffix(".tar")
    inside = f"{tar.name} in {path}"
    images = [
        member._replace(name=f"{synset}/{member.name.removeprefix(f'{synset}/')}")
        for member in _visible(scan(descriptor, inside, tar.offset, tar.size))
    ]
    return _sorted(inside, images)


def _scan_val(path: Path, official: Archive) -> Columns:
    descriptor = _open(path)
    try:
        members = [
            member._replace(name=member.name.removeprefix("val/"))
            for member in _visible(scan(descriptor, _name(path, descriptor, official)))
        ]
    finally:
        os.close(descriptor)
    if not members:
        raise PipelineError(f"{path} is empty: get it again")
    for member in members:
        if not VAL_IMAGE.fullmatch(member.name):
            training = "training images: is it the training archive under another name?"
            other = f"{member.name!r}, which is no validation image of ILSVRC 2012"
            raise PipelineError(f"{path} holds {training if _SYNSET_TAR.fullmatch(member.name) else other}")
    images = _sorted(str(path), members)
    return {"names": pack(images.names), "offsets": images.offsets, "sizes": images.sizes}


def _visible(members: Iterable[Member]) -> list[Member]:
    """Returns the members that trees would list too: no hidden files (leading dot), none that a system left."""
    return [member for member in members if not any(_is_left_out(part) for part in member.name.split("/"))]


def _is_left_out(name: str) -> bool:
    return name[:1] == "." or is_system_file(name)


def _sorted(archive: str, members: list[Member]) -> Images:
    members.sort(key=lambda member: os.fsencode(member.name))
    names = [member.name for member in members]
    _check_unique(archive, names)
    return Images(
        names,
        np.array([member.offset for member in members], np.int64),
        np.array([member.size for member in members], np.int64),
    )


def _check_train(path: Path, tar: Member, synsets: Collection[str]) -> None:
    if VAL_IMAGE.fullmatch(tar.name):
        raise PipelineError(f"{path} holds validation images: is it the validation archive under another name?")
    if not _SYNSET_TAR.fullmatch(tar.name):
        raise PipelineError(f"{path} holds {tar.name!r}: it should hold one tar per synset (n01440764.tar, ...)")
    if tar.name.removesuffix(".tar") not in synsets:
        raise PipelineError(f"{path} holds {tar.name}, which is none of the {len(synsets):,} synsets of ILSVRC 2012")


def _check_unique(archive: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise PipelineError(f"{archive} holds {name} {count} times: get it again")


def _name(path: Path, descriptor: int, official: Archive) -> str:
    """Returns the archive's name in errors, with both sizes if it is shorter than the official one."""
    size = os.fstat(descriptor).st_size
    return (
        f"{path} ({size:,} bytes, the official one has {official.bytes:,})"
        if size < (official.bytes or 0)
        else str(path)
    )


def _open(path: Path) -> int:
    """Opens a descriptor for scanning. Raises OSError."""
    descriptor = regular_descriptor(path)
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # read-ahead would read the images
    return descriptor
