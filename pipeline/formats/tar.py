"""Reproducible WebDataset shards: USTAR archives and their indexes, written a batch at a time.

Times, owners and modes are constant, so equal samples give equal bytes. A sample is two adjacent members, as webdataset
requires: ``.png`` (or ``.npy``), and ``.cls`` with the label in ASCII digits. Formats: POSIX.1-1988 USTAR; the index of
NVIDIA DALI, v1.2.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.formats.packed import PackedFiles, copy
from pipeline.numerics.jit import compiled, step
from pipeline.storage import files

BLOCK = 512
_END = bytes(2 * BLOCK)
# The fields of a header: name; mode, uid, gid; size; mtime; checksum, which counts as spaces; type '0', link name, magic,
# version, no owner names. Names and sizes are filled in for each member.
_NAME, _SIZE, _CHECKSUM = 100, 124, 148
_REST = b"0" + bytes(100) + b"ustar\00000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
_LONGEST_LABEL = 19  # digits of an int64
_HEADER = bytes(_NAME) + b"0000644\0" + b"0000000\0" * 2 + bytes(12) + b"00000000000\0" + b" " * 8 + _REST


class Heads(NamedTuple):
    """The parts of a batch's members that are equal in every variant: made once, used for each variant.

    Attributes:
        images: uint8 (n, 512), the headers of the image members without size and checksum.
        sums: int64 (n,), the sums of the bytes of these headers, their checksums as spaces.
        labels: uint8 (n, 1024), the ``.cls`` members.
        lines: what a line of the index holds between its numbers: before the label's offset, and after it.
    """

    images: np.ndarray
    sums: np.ndarray
    labels: np.ndarray
    lines: list[tuple[str, str]]


def heads(keys: Sequence[str], labels: Sequence[int], form: str = "png") -> Heads:
    """Returns the parts of samples' members that do not depend on their pixels.

    Args:
        keys: at most 96 ASCII bytes each.
        labels: of the samples.
        form: suffix of the image members.
    """
    texts = [b"%d" % label for label in labels]
    images, sums = _headers([f"{key}.{form}" for key in keys])
    members = np.zeros((len(keys), 2 * BLOCK), np.uint8)
    members[:, :BLOCK], label_sums = _headers([f"{key}.cls" for key in keys])
    sizes = _bytes([b"%011o" % len(text) for text in texts], 11)
    checksums = (label_sums + sizes.sum(axis=1, dtype=np.int64)).tolist()
    members[:, _SIZE : _SIZE + 11] = sizes
    members[:, _CHECKSUM : _CHECKSUM + 8] = _bytes([b"%06o\0 " % checksum for checksum in checksums], 8)
    members[:, BLOCK : BLOCK + _LONGEST_LABEL] = _bytes(texts, _LONGEST_LABEL)
    lines = [(f" {key}.{form} cls ", f" {len(text)} {key}.cls\n") for key, text in zip(keys, texts, strict=True)]
    return Heads(images, sums, members, lines)


def _headers(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 (n, 512), headers with these names and without sizes and checksums, and the sums of their bytes."""
    encoded = [name.encode("ascii") for name in names]
    for name in encoded:
        if len(name) > _NAME:
            raise ValueError(f"member name longer than {_NAME} bytes: {name.decode()}")
    headers = np.tile(np.frombuffer(_HEADER, np.uint8), (len(names), 1))
    headers[:, :_NAME] = _bytes(encoded, _NAME)
    return headers, sum(_HEADER) + headers[:, :_NAME].sum(axis=1, dtype=np.int64)


def _bytes(texts: list[bytes], width: int) -> np.ndarray:
    """Returns uint8 (n, width): texts, each followed by zeros."""
    return np.array(texts, f"S{width}").view(np.uint8).reshape(len(texts), width)


class ShardFile(NamedTuple):
    """A finished shard: size in bytes, SHA-256, and the content of its DALI index."""

    size: int
    sha256: str
    dali_index: bytes


class ShardWriter:
    """Writes one shard as a stream. Only the index is kept in memory.

    Args:
        path: of a new file. The caller publishes the finished file or removes it.
        form: suffix of the image members.
    """

    def __init__(self, path: Path, form: str = "png") -> None:
        self.form = form
        self._file = files.create(path, buffering=0)
        self._digest = hashlib.sha256()
        self._index: list[str] = []
        self._offset = 0

    def add(self, samples: Heads, images: PackedFiles) -> None:
        """Appends samples. ``images`` holds the image file of each; the heads must be of this shard's form."""
        data, stops = members(samples, images)
        sizes = images.sizes
        starts = (self._offset + stops - (sizes + -sizes % BLOCK) - 2 * BLOCK).tolist()
        labels = (self._offset + stops - BLOCK).tolist()
        self._index += [
            f"{self.form} {start} {size}{before}{label}{behind}"
            for start, size, label, (before, behind) in zip(starts, sizes.tolist(), labels, samples.lines, strict=True)
        ]
        self._write(data)

    def finish(self) -> ShardFile:
        """Ends the archive and closes the file. Publishing syncs it later."""
        self._write(np.frombuffer(_END, np.uint8))
        self._file.close()
        index = f"v1.2 {len(self._index)}\n" + "".join(self._index)
        return ShardFile(self._offset, self._digest.hexdigest(), index.encode())

    def close(self) -> None:
        """Closes the file of an unfinished shard."""
        self._file.close()

    def _write(self, data: np.ndarray) -> None:
        rest = data.data
        self._digest.update(rest)
        self._offset += len(rest)
        while rest:  # an unbuffered write may stop early
            rest = rest[self._file.write(rest) :]


def members(samples: Heads, images: PackedFiles) -> tuple[np.ndarray, np.ndarray]:
    """Returns the members of samples, uint8, and where each sample ends, int64 (n,)."""
    if len(samples.images) != len(images.stops):
        raise ValueError(f"{len(samples.images)} samples and {len(images.stops)} images")
    sizes = images.sizes
    stops = np.cumsum(sizes + -sizes % BLOCK + 3 * BLOCK)  # a header before each image, its label behind it
    data = np.empty(int(stops[-1]) if len(stops) else 0, np.uint8)
    _fill(samples.images, samples.sums, images.data, images.stops, samples.labels, data)
    return data, stops


@compiled
def _fill(headers: Any, sums: Any, files: Any, stops: Any, labels: Any, members: Any) -> None:
    """Writes the members of samples one after the other: header, image, zeros up to a whole block, label.

    Args:
        headers: uint8 (n, 512) of the images, without size and checksum.
        sums: int64 (n,), of the bytes of these headers.
        files: uint8, the images one after the other.
        stops: int64 (n,), where each ends.
        labels: uint8 (n, 1024), the members of the labels.
        members: uint8, filled.
    """
    at, start = 0, 0
    for image in range(len(stops)):
        size = stops[image] - start
        copy(headers[image], members, at)
        checksum = sums[image] + _octal(members, at + _SIZE, 11, size)
        _octal(members, at + _CHECKSUM, 6, checksum)
        members[at + _CHECKSUM + 6] = 0
        at += BLOCK
        copy(files[start : start + size], members, at)
        at += size
        for place in range(-size % BLOCK):
            members[at + place] = 0
        at += -size % BLOCK
        copy(labels[image], members, at)
        at += 2 * BLOCK
        start = stops[image]


@step
def _octal(target: Any, at: Any, digits: Any, value: Any) -> Any:
    """Writes a number in octal digits, zeros before it. Returns the sum of the bytes."""
    total = 0
    for place in range(digits):
        digit = ord("0") + ((value >> (3 * (digits - 1 - place))) & 7)
        target[at + place] = digit
        total += digit
    return total
