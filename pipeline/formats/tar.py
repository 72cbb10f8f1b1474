"""Reproducible WebDataset shards: USTAR archives and their indexes. A member takes microseconds.

Times, owners and modes are constant, so equal samples give equal bytes. A sample is two adjacent members, as webdataset
requires: ``.png`` (or ``.npy``), and ``.cls`` with the label in ASCII digits. Formats: POSIX.1-1988 USTAR; the index of
NVIDIA DALI, v1.2.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from pipeline.storage import files

BLOCK = 512
_END = bytes(2 * BLOCK)
# The header without name, size and checksum: mode, uid, gid; mtime; type '0', link name, magic, version, no owner names.
_IDS = b"0000644\0" + b"0000000\0" * 2
_TIME = b"00000000000\0"
_REST = b"0" + bytes(100) + b"ustar\00000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
_CONSTANT_SUM = sum(_TIME) + sum(_REST) + 8 * ord(" ")  # the checksum field counts as spaces


def sample_key(split: str, index: int) -> str:
    """Returns the key of a sample: unique in the output and equal in every variant.

    Args:
        index: position in the source's order.
    """
    return f"{split}-{index:08d}"


class Heads(NamedTuple):
    """The parts of a sample's members that are equal in every variant: made once per image, used once per shard.

    Attributes:
        key: the sample's key.
        image: the image member's header up to its size field.
        checksum: the sum of the header's bytes without the size field.
        label: the whole ``.cls`` member.
        digits: length of the label's text.
    """

    key: str
    image: bytes
    checksum: int
    label: bytes
    digits: int


def heads(key: str, label: int, form: str = "png") -> Heads:
    """Returns the parts of a sample's members that do not depend on its pixels.

    Args:
        key: at most 96 ASCII bytes.
        form: suffix of the image member.
    """
    image, text = _named(f"{key}.{form}"), b"%d" % label
    name = _named(f"{key}.cls")
    label_member = _member(name, _CONSTANT_SUM + sum(name), text)
    return Heads(key, image, _CONSTANT_SUM + sum(image), label_member, len(text))


def _named(name: str) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > 100:
        raise ValueError(f"member name longer than 100 bytes: {name}")
    return encoded.ljust(100, b"\0") + _IDS


def _member(named: bytes, checksum: int, data: bytes) -> bytes:
    size = b"%011o" % len(data)
    checked = b"%06o\0 " % (checksum + sum(size))
    return b"".join((named, size, b"\0", _TIME, checked, _REST, data, bytes(-len(data) % BLOCK)))


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

    def add(self, samples: list[Heads], images: list[bytes]) -> None:
        """Appends samples. ``images`` holds the image file of each; the heads must be of this shard's form."""
        blocks: list[bytes] = []
        for sample, image in zip(samples, images, strict=True):
            block = _member(sample.image, sample.checksum, image)
            key, start = sample.key, self._offset + BLOCK
            self._offset += len(block)
            self._index.append(
                f"{self.form} {start} {len(image)} {key}.{self.form} cls {self._offset + BLOCK} {sample.digits} {key}.cls\n"
            )
            self._offset += len(sample.label)
            blocks += (block, sample.label)
        self._write(b"".join(blocks))

    def finish(self) -> ShardFile:
        """Ends the archive and closes the file. Publishing syncs it later."""
        self._write(_END)
        self._offset += len(_END)
        self._file.close()
        index = f"v1.2 {len(self._index)}\n" + "".join(self._index)
        return ShardFile(self._offset, self._digest.hexdigest(), index.encode())

    def close(self) -> None:
        """Closes the file of an unfinished shard."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        rest = memoryview(data)
        while rest:  # an unbuffered write may stop early
            rest = rest[self._file.write(rest) :]
