"""Reads where each sample of a part is stored: the index beside each tar, checked against the manifest.

Format of an index: NVIDIA DALI v1.2 (docs/format.md).
"""

import json
from dataclasses import dataclass

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import Part, Shard
from pipeline.errors import PipelineError
from pipeline.storage.files import read_regular

_MAX_LINE = 1 << 16  # bytes of a line in samples/<split>.jsonl
_LINE = 512  # bytes: an upper bound for a line of an index
_LONGEST = 100  # bytes of a key, the limit of a name in a tar; in an array, every key takes the space of the longest


@dataclass(frozen=True)
class Index:
    """The samples of a part, in the output's order.

    Attributes:
        shard: int32 (n,), position of the sample's tar in ``Part.shards``.
        offset: int64 (n,), first byte of the image file in the tar.
        size: int64 (n,), bytes of the image file.
        keys: byte strings (n,).
        labels: int64 (n,).
    """

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    keys: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _ShardIndex:
    offset: np.ndarray
    size: np.ndarray
    keys: list[bytes]
    label_offset: np.ndarray
    label_size: np.ndarray


def read(part: Part) -> Index:
    """Returns the samples of a part with their labels.

    Labels are read from ``samples/<split>.jsonl``. If that file was not copied with the output, they are read from the tars.

    Raises:
        PipelineError: an index is missing or does not fit its tar, or a label is outside of the classes.
    """
    shards = [_shard(shard, part.form) for shard in part.shards]
    keys = [key for shard in shards for key in shard.keys]
    labels = _listed_labels(part, keys) if part.labels else _labels_in_tars(part, shards)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(part.classes):
        raise PipelineError(
            f"{part.variant} {part.split}: labels beyond the {len(part.classes)} classes; build it again"
        )
    return Index(
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.keys) for shard in shards]),
        offset=_joined([shard.offset for shard in shards]),
        size=_joined([shard.size for shard in shards]),
        keys=np.array(keys, dtype=bytes),
        labels=labels,
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _shard(shard: Shard, form: str) -> _ShardIndex:
    try:
        head, _, body = read_regular(shard.index, _LINE * (1 + shard.samples)).partition(b"\n")
    except OSError as error:
        raise PipelineError(f"{shard.index}: {error.strerror}; copy the output again, or build it again") from None
    words, suffix = body.split(), b"." + form.encode()
    try:
        if head != b"v1.2 %d" % shard.samples or len(words) != 8 * shard.samples:
            raise ValueError
        members, label_members = words[3::8], words[7::8]
        keys = [member.removesuffix(suffix) for member in members]
        named = all(key + suffix == member for key, member in zip(keys, members, strict=True))
        paired = all(key + b".cls" == member for key, member in zip(keys, label_members, strict=True))
        safe = not any(b"/" in key or b"\\" in key or b"\0" in key or key[:1] in (b".", b"") for key in keys)
        safe = safe and max(map(len, keys), default=0) <= _LONGEST
        typed = set(words[0::8]) <= {suffix[1:]} and set(words[4::8]) <= {b"cls"}
        index = _ShardIndex(
            _numbers(words[1::8]), _numbers(words[2::8]), keys, *map(_numbers, (words[5::8], words[6::8]))
        )
        ends = (index.offset + index.size, index.label_offset + index.label_size)
        if not (named and paired and safe and typed) or any((end > shard.size).any() for end in ends):
            raise ValueError
    except ValueError:
        raise PipelineError(
            f"{shard.index} does not describe the {shard.samples:,} samples of its tar; copy or build the output again"
        ) from None
    return index


def _numbers(words: list[bytes]) -> np.ndarray:
    """Returns int64 (n,). Raises ValueError for negative numbers, and for any so large that a sum of two overflows."""
    if not all(map(bytes.isdigit, words)) or max(map(len, words), default=0) > 18:
        raise ValueError
    return np.array(words, dtype=bytes).astype(np.int64) if words else np.empty(0, np.int64)


def _listed_labels(part: Part, keys: list[bytes]) -> np.ndarray:
    assert part.labels is not None
    try:
        with part.labels.open("rb") as file:
            rows = map(json.loads, iter(lambda: file.readline(_MAX_LINE), b""))
            listed = {row["key"].encode(): row["label"] for row in rows}
        return np.array([_label(listed[key]) for key in keys], dtype=np.int64)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise PipelineError(
            f"{part.labels} does not give every sample of {part.variant} a label; copy or build the output again"
        ) from None


def _label(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _labels_in_tars(part: Part, shards: list[_ShardIndex]) -> np.ndarray:
    files, labels = Files(), []
    for shard, index in zip(part.shards, shards, strict=True):
        places = zip(index.label_offset.tolist(), index.label_size.tolist(), strict=True)
        texts = [files.read(str(shard.path), offset, min(size, 20)) for offset, size in places]
        try:
            labels.append(_numbers(texts))
        except ValueError:
            raise PipelineError(f"{shard.path}: a label is not a number; copy or build the output again") from None
    return _joined(labels)
