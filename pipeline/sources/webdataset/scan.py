"""Lists one WebDataset shard in place: the keys, the labels and the image offsets of its samples."""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.tars.members import Member, scan
from pipeline.storage.files import regular_descriptor
from pipeline.storage.system_files import is_system_file

IMAGES = ("jpg", "jpeg", "png", "webp")
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)  # as webdataset splits a name: key, extension
_APART = "; members of a sample must be side by side (tar --sort=name)"
_LARGEST_LABEL = 1 << 31
_LARGEST_CLS = 64  # bytes
_LARGEST_JSON = 16 << 20


class Samples(NamedTuple):
    """A shard's samples in its order.

    Attributes:
        keys: unique in the shard.
        labels: int64 (n,), below 2^31.
        offsets, sizes: int64 (n,), the ranges of the images in bytes.
    """

    keys: list[str]
    labels: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray


def scan_shard(path: Path, label_key: str | None) -> Samples:
    """Lists the samples of a shard: consecutive members whose names agree up to the first dot of the file name.

    As in webdataset, members without an extension, hidden members and ``__...__`` belong to no sample. Neither do files that
    an operating system left behind.

    Args:
        label_key: the field of the ``json`` member that holds the label. None: the label is the ``cls`` member's text.

    Raises:
        PipelineError: the shard is cut off or no plain tar, or a sample has no image, several, or no usable label.
        OSError: it cannot be read.
    """
    keys: list[str] = []
    rows: list[tuple[int, int, int]] = []
    seen: set[str] = set()
    descriptor = regular_descriptor(path)

    def finish(key: str, members: dict[str, Member]) -> None:
        sample = f"{path}: sample {key!r}"
        if key in seen:
            raise PipelineError(f"{sample} occurs twice, or its members are not side by side")
        seen.add(key)
        image = _image(sample, members)
        keys.append(key)
        rows.append((_label(descriptor, sample, members, label_key), image.offset, image.size))

    try:
        current, members = "", dict[str, Member]()
        for member in scan(descriptor, str(path)):
            match = _NAME.fullmatch(member.name)
            if match is None or re.fullmatch(r"__.*__", match[1].rpartition("/")[2]) or _of_system(member.name):
                continue
            key, extension = match[1], match[2].lower()
            if key != current or not members:
                if members:
                    finish(current, members)
                current, members = key, {}
            if extension in members:
                raise PipelineError(f"{path}: sample {key!r} has two members .{extension}")
            members[extension] = member
        if members:
            finish(current, members)
    finally:
        os.close(descriptor)
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Samples(keys, *(np.ascontiguousarray(column) for column in columns))


def _of_system(name: str) -> bool:
    return any(map(is_system_file, name.split("/")))


def _image(sample: str, members: dict[str, Member]) -> Member:
    images = [extension for extension in IMAGES if extension in members]
    if not images:
        others = ", ".join(f".{extension}" for extension in sorted(members)[:5])
        dots = (
            "; the key of a sample ends at the first dot of the file name"
            if any("." in name for name in members)
            else ""
        )
        raise PipelineError(f"{sample} has no image ({', '.join(IMAGES)}), only {others}{dots}{_APART}")
    if len(images) > 1:
        raise PipelineError(f"{sample} has several images: {', '.join(f'.{extension}' for extension in images)}")
    return members[images[0]]


def _label(descriptor: int, sample: str, members: dict[str, Member], label_key: str | None) -> int:
    if label_key is None:
        label = _cls(descriptor, sample, members)
    else:
        fields = _json(descriptor, sample, members, label_key)
        if label_key not in fields:
            raise PipelineError(f"{sample} has no {label_key!r} in its .json, which has {_listed(fields)}")
        label = fields[label_key]
        if type(label) is not int:  # a bool is an int to isinstance
            raise PipelineError(f"{sample} has the label {_shown(label)} in its .json, not a whole number")
    if not 0 <= label < _LARGEST_LABEL:
        text = f"{label}" if abs(label) < 10**20 else "of more than 20 digits"
        raise PipelineError(f"{sample} has the label {text}: labels are 0, 1, 2, ...")
    return label


def _cls(descriptor: int, sample: str, members: dict[str, Member]) -> int:
    if "cls" not in members:
        advice = "; --label-key names the field of its .json that holds it" if "json" in members else ""
        raise PipelineError(f"{sample} has no label (.cls){advice or _APART}")
    text = _content(descriptor, sample, members["cls"], _LARGEST_CLS).strip()
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits.isdigit():
        raise PipelineError(f"{sample} has the label {_shown(text.decode(errors='replace'))}, not a whole number")
    return int(text)


def _json(descriptor: int, sample: str, members: dict[str, Member], label_key: str) -> dict[str, Any]:
    if "json" not in members:
        raise PipelineError(f"{sample} has no .json, in which --label-key {label_key} could be")
    content = _content(descriptor, sample, members["json"], _LARGEST_JSON)
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        raise PipelineError(f"{sample} has a .json that is not valid") from None
    if not isinstance(fields, dict):
        raise PipelineError(f"{sample} has a .json that is not an object")
    return fields


def _content(descriptor: int, sample: str, member: Member, largest: int) -> bytes:
    if member.size > largest:
        raise PipelineError(f"{sample} has a .{member.name.rpartition('.')[2]} of {member.size:,} bytes: no label")
    content = os.pread(descriptor, member.size, member.offset)
    if len(content) < member.size:
        raise OSError(f"{member.name} has become shorter")
    return content


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(repr(name) for name in sorted(fields)[:10]) or "no fields"


def _shown(value: object) -> str:
    """Returns a wrong label for an error. Hostile labels can be long, or take long to print."""
    return repr(value)[:40] if isinstance(value, str | float | bool | None) else f"of type {type(value).__name__}"
