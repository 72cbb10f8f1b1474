"""Reads and checks one CIFAR batch file: its labels, the offsets of its pixels, and a checksum that both layouts share."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.cifar.manifest import PIXELS, BatchFile, Layout
from pipeline.sources.cifar.unpickle import PickledArray, load
from pipeline.storage.pointers import pointer_at

_ROWS = 1_000  # images hashed at a time


class Batch(NamedTuple):
    """The content of a batch file that the index needs.

    Attributes:
        labels: int32 (n,).
        offsets: int64 (n,), the position of each image's 3,072 bytes in the file.
        sha256: of the records (label byte, 3,072 pixels) of all images, the same in both layouts.
        verified: whether the file has the official checksum.
    """

    labels: np.ndarray
    offsets: np.ndarray
    sha256: str
    verified: bool


def read_batch(path: Path, official: BatchFile, layout: Layout, classes: int, allow_unverified: bool) -> Batch:
    """Reads, checks and lists a batch file. A pickle is opened only after its checksum was compared.

    Args:
        official: the file as the manifest describes it.
        classes: how many there are. Labels are below this number.
        allow_unverified: accept a file with another checksum.

    Raises:
        PipelineError: the file is missing, cut off, not the official one, or no batch.
    """
    try:
        size = path.stat().st_size
        if fault := pointer_at(path):
            raise PipelineError(f"{path} is {fault}")
        _check_size(path, size, official)
        content = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}; unpack {layout.archive.file} again") from None
    verified = _check_md5(path, content, official, allow_unverified)
    if layout.label_key:
        labels, pixels, offsets = _pickle(path, content, official, layout.label_key)
    else:
        labels, pixels, offsets = _records(path, content, official, layout.label_bytes)
    if labels.min() < 0 or labels.max() >= classes:
        raise PipelineError(f"{path} has labels outside 0..{classes - 1}: it is not the file that it is named after")
    return Batch(labels, offsets, _sha256(labels, pixels), verified)


def _check_size(path: Path, size: int, official: BatchFile) -> None:
    if size < (official.bytes or official.images * PIXELS):
        least = f"has {official.bytes:,}" if official.bytes else f"holds {official.images * PIXELS:,} of pixels alone"
        raise PipelineError(
            f"{path} is half-downloaded or cut off: {size:,} bytes, the official file {least}; get it again"
        )
    if size > official.largest:
        raise PipelineError(f"{path} has {size:,} bytes, the official file at most {official.largest:,}: get it again")


def _check_md5(path: Path, content: bytes, official: BatchFile, allow_unverified: bool) -> bool:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != official.md5 and not allow_unverified:
        raise PipelineError(
            f"{path} has MD5 {md5}, the official file {official.md5}: get it again, or --allow-unverified builds from it "
            "anyway (recorded in the manifest)"
        )
    return md5 == official.md5


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels int32 (n,), pixels uint8 (n, 3072), offsets int64 (n,)


def _records(path: Path, content: bytes, official: BatchFile, label_bytes: int) -> Columns:
    stride = label_bytes + PIXELS
    if len(content) != official.images * stride:  # the file changed while it was read, or the manifest is wrong
        raise PipelineError(
            f"{path} has {len(content):,} bytes, not {official.images} records of {stride}: get it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(official.images, stride)
    offsets = np.arange(official.images, dtype=np.int64) * stride + label_bytes
    return records[:, label_bytes - 1].astype(np.int32), records[:, label_bytes:], offsets


def _pickle(path: Path, content: bytes, official: BatchFile, label_key: str) -> Columns:
    batch = load(content, str(path))
    data, labels = batch.get("data"), batch.get(label_key)
    shape = (official.images, PIXELS)
    if not (
        isinstance(data, PickledArray)
        and data.shape == shape
        and data.dtype in (b"u1", "u1")
        and data.fortran is False
        and isinstance(data.raw, bytes)
        and len(data.raw) == official.images * PIXELS
    ):
        raise PipelineError(f"{path} holds no 'data' of {shape[0]} x {shape[1]} bytes: it is not an official batch")
    if not (
        isinstance(labels, list) and len(labels) == official.images and all(type(label) is int for label in labels)
    ):
        raise PipelineError(
            f"{path} holds no {label_key!r} of {official.images} whole numbers: it is not an official batch"
        )
    start = _position(content, data.raw)
    if start < 0:
        raise PipelineError(f"{path} does not hold its pixels in one piece: use the official file or the binary layout")
    offsets = np.arange(official.images, dtype=np.int64) * PIXELS + start
    return np.array(labels, np.int32), np.frombuffer(data.raw, np.uint8).reshape(shape), offsets


def _position(content: bytes, raw: bytes) -> int:
    """Returns the position of ``raw`` in ``content``, or -1. Searches for its first image, as long searches are slow."""
    start = content.find(raw[:PIXELS])
    while start >= 0 and not content.startswith(raw, start):
        start = content.find(raw[:PIXELS], start + 1)
    return start


def _sha256(labels: np.ndarray, pixels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(labels), _ROWS):
        rows = slice(first, first + _ROWS)
        digest.update(np.column_stack([labels[rows].astype(np.uint8), pixels[rows]]).tobytes())
    return digest.hexdigest()
