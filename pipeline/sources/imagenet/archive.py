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
from pipeline.sources.names import Names
from pipeline.sources.saved_index import Columns, saved
from pipeline.sources.tars.members import Member, scan
from pipeline.sources.tars.plain import Headers, PlainMembers, plain_members
from pipeline.storage.files import regular_descriptor
from pipeline.storage.system_files import is_system_file

VAL_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
_TRAIN_IMAGES = re.compile(rb"(?:n[0-9]{8}_[0-9]+\.JPEG\0)+")  # the usual names, which need no closer look
_SYNSET_TAR = re.compile(r"n\d{8}\.tar")
_SCANS = 8  # at once, in one file: headers are 100 KB apart, and on a network or a cold disk each is a wait


class Images(NamedTuple):
    """Images in one archive.

    Attributes:
        names: ``<synset>/<file name>`` for train, the bare file name for val; bytewise sorted.
        offsets, sizes: int64 (n,), bytes.
    """

    names: Names
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
    return Images(Names(columns.pop("names").tobytes()), columns["offsets"], columns["sizes"])


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
        headers = Headers()
        with ThreadPoolExecutor(_SCANS) as pool:
            parts = list(pool.map(lambda tar: _scan_synset(descriptor, path, tar, headers), tars))
    finally:
        os.close(descriptor)
    return _columns(parts)


def _columns(parts: list[Images]) -> Columns:
    return {
        "names": np.frombuffer(b"\0".join(part.names.joined for part in parts if len(part.names)), np.uint8),
        "offsets": np.concatenate([part.offsets for part in parts]),
        "sizes": np.concatenate([part.sizes for part in parts]),
    }


def _scan_synset(descriptor: int, path: Path, tar: Member, headers: Headers) -> Images:
    """Lists the tar of a synset in the training archive."""
    synset = tar.name.removesuffix(".tar")
    folder, inside = f"{synset}/", f"{tar.name} in {path}"
    with headers.turn():
        plain = plain_members(descriptor, inside, tar.offset, tar.size, headers.read)
        if plain and _TRAIN_IMAGES.fullmatch(b"\0".join(plain.names.tolist()) + b"\0"):
            return _sorted_plain(inside, folder.encode(), plain)
        members = _visible(scan(descriptor, inside, tar.offset, tar.size, headers.read))
        images = [(f"{folder}{name.removeprefix(folder)}", offset, size) for name, offset, size in members]
        return _sorted(inside, images)


def _scan_val(path: Path, official: Archive) -> Columns:
    descriptor = _open(path)
    try:
        members = [
            (name.removeprefix("val/"), offset, size)
            for name, offset, size in _visible(scan(descriptor, _name(path, descriptor, official)))
        ]
    finally:
        os.close(descriptor)
    if not members:
        raise PipelineError(f"{path} is empty: get it again")
    for name, _, _ in members:
        if not VAL_IMAGE.fullmatch(name):
            training = "training images: is it the training archive under another name?"
            other = f"{name!r}, which is no validation image of ILSVRC 2012"
            raise PipelineError(f"{path} holds {training if _SYNSET_TAR.fullmatch(name) else other}")
    return _columns([_sorted(str(path), members)])


def _visible(members: Iterable[Member]) -> list[Member]:
    """Returns the members that trees would list too: no hidden files (leading dot), none that a system left."""
    return [member for member in members if not any(_is_left_out(part) for part in member.name.split("/"))]


def _is_left_out(name: str) -> bool:
    return name[:1] == "." or is_system_file(name)


def _sorted(archive: str, members: list[tuple[str, int, int]]) -> Images:
    """Returns members (name, offset, size) in the bytewise order of their names. Raises PipelineError if one is twice."""
    members.sort(key=lambda member: os.fsencode(member[0]))
    names = [member[0] for member in members]
    _check_unique(archive, names)
    ranges = np.array([member[1:] for member in members], np.int64).reshape(-1, 2)
    return Images(Names.of(names), np.ascontiguousarray(ranges[:, 0]), np.ascontiguousarray(ranges[:, 1]))


def _sorted_plain(archive: str, folder: bytes, plain: PlainMembers) -> Images:
    order = np.argsort(plain.names, kind="stable")
    names = plain.names[order].tolist()
    _check_unique(archive, names)
    return Images(Names(b"\0".join([folder + name for name in names])), plain.offsets[order], plain.sizes[order])


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
