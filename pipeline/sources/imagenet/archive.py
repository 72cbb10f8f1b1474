"""The official ImageNet archives, listed in place: a tar of one tar a synset, and a tar of validation images."""

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

VAL_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
_SYNSET_TAR = re.compile(r"n\d{8}\.tar")
_SCANS = 8  # at once, in one file: headers 100 KB apart are a wait each, on a network or cold flash


class Images(NamedTuple):
    """Images in one archive.

    Attributes:
        names: ``<synset>/<file name>`` for train, the bare file name for val; bytewise sorted.
        offsets, sizes: int64 (n,), bytes.
    """

    names: list[str]
    offsets: np.ndarray
    sizes: np.ndarray


def list_train(path: Path, known: Archive, synsets: Collection[str]) -> Images:
    """The images of ``ILSVRC2012_img_train.tar``, or of one with fewer synsets.

    Raises:
        PipelineError: the archive is cut off, another one, damaged, or holds a synset that is none of ``synsets``.
    """
    return _images(saved(DATASET, [path], "train", lambda: _scan_train(path, known, synsets)))


def list_val(path: Path, known: Archive) -> Images:
    """The images of ``ILSVRC2012_img_val.tar``. Raises as ``list_train``."""
    return _images(saved(DATASET, [path], "val", lambda: _scan_val(path, known)))


def _images(columns: Columns) -> Images:
    return Images(unpack(columns["names"]), columns["offsets"], columns["sizes"])


def _scan_train(path: Path, known: Archive, synsets: Collection[str]) -> Columns:
    descriptor = _open(path)
    try:
        tars = _visible(scan(descriptor, _called(path, descriptor, known)))
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
    found = [
        member._replace(name=f"{synset}/{member.name.removeprefix(f'{synset}/')}")
        for member in _visible(scan(descriptor, inside, tar.offset, tar.size))
    ]
    return _sorted(inside, found)


def _scan_val(path: Path, known: Archive) -> Columns:
    descriptor = _open(path)
    try:
        found = [
            member._replace(name=member.name.removeprefix("val/"))
            for member in _visible(scan(descriptor, _called(path, descriptor, known)))
        ]
    finally:
        os.close(descriptor)
    if not found:
        raise PipelineError(f"{path} is empty: get it again")
    for member in found:
        if not VAL_IMAGE.fullmatch(member.name):
            what = "training images: is it the training archive under another name?"
            other = f"{member.name!r}, which is no validation image of ILSVRC 2012"
            raise PipelineError(f"{path} holds {what if _SYNSET_TAR.fullmatch(member.name) else other}")
    images = _sorted(str(path), found)
    return {"names": pack(images.names), "offsets": images.offsets, "sizes": images.sizes}


def _visible(members: Iterable[Member]) -> list[Member]:
    """Without hidden files (leading dot), which trees ignore too."""
    return [member for member in members if member.name[:1] != "." and "/." not in member.name]


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
        raise PipelineError(f"{path} holds {tar.name!r}: it should hold one tar a synset (n01440764.tar, ...)")
    if tar.name.removesuffix(".tar") not in synsets:
        raise PipelineError(f"{path} holds {tar.name}, which is none of the {len(synsets):,} synsets of ILSVRC 2012")


def _check_unique(archive: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise PipelineError(f"{archive} holds {name} {count} times: get it again")


def _called(path: Path, descriptor: int, known: Archive) -> str:
    """The archive in an error; with both sizes where it is shorter than the official one."""
    size = os.fstat(descriptor).st_size
    return f"{path} ({size:,} bytes, the official one has {known.bytes:,})" if size < (known.bytes or 0) else str(path)


def _open(path: Path) -> int:
    """A descriptor. Raises OSError."""
    descriptor = regular_descriptor(path)
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # reading ahead would read the images
    return descriptor
