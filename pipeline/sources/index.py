"""What a source is made of: entries, split indexes, and the fingerprint of the whole."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.geometry import Geometry

# Pixels a side of the largest images that are taken: what the cuts' int16 arithmetic holds.
MAX_SIDE = 15_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source.

    ``index`` is its place in the source's order (the number in its key), ``name`` its original name, and ``file``,
    ``offset``, ``size`` where its bytes lie: a path relative to the source's root, and a range of bytes in it.
    """

    index: int
    name: str
    label: int
    file: str
    offset: int
    size: int


@dataclass(frozen=True)
class SplitIndex:
    """One split in the source's order, as columns, so that a million entries stay small.

    Attributes:
        names: original names, unique in the split.
        labels: int32 (n,), indices into ``SourceIndex.classes``.
        files: the distinct files, relative to the source's root.
        file_ids: int32 (n,), indices into ``files``.
        offsets, sizes: int64 (n,), bytes.
    """

    names: list[str]
    labels: np.ndarray
    files: list[str]
    file_ids: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def entry(self, index: int) -> Entry:
        return Entry(
            index,
            self.names[index],
            int(self.labels[index]),
            self.files[self.file_ids[index]],
            int(self.offsets[index]),
            int(self.sizes[index]),
        )


@dataclass(frozen=True)
class SourceIndex:
    """A whole source: every split, the classes, and what an output says about where it comes from.

    Attributes:
        classes: class names, position = label.
        splits: in the order in which they are built.
        shape: (height, width) in pixels of every image; None where sizes vary.
        title, terms, note: for the dataset card; ``note`` warns (may be empty).
        checksums: known SHA-256 of contents, by a name that is the same in every layout of the source.
        verified: False when ``--allow-unverified`` let content through whose official checksum did not match.
    """

    classes: list[str]
    splits: dict[str, SplitIndex]
    shape: tuple[int, int] | None
    title: str
    terms: str
    note: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    verified: bool = True

    def fingerprint(self, sizes: Mapping[tuple[str, int], int] | None = None) -> str:
        """SHA-256 over names, sizes, labels, classes and known checksums; no times, no absolute paths.

        Args:
            sizes: other sizes to assume, by split and index.
        """
        digest = hashlib.sha256()
        head = {"classes": self.classes, "checksums": self.checksums}
        digest.update(json.dumps(head, sort_keys=True).encode())
        for split, index in sorted(self.splits.items()):
            digest.update(json.dumps([split, len(index)]).encode())
            digest.update(b"\0".join(os.fsencode(name) for name in index.names))
            digest.update(index.labels.astype("<i4").tobytes())
            assumed = index.sizes.astype("<i8")
            for (of, number), size in (sizes or {}).items():
                if of == split and 0 <= number < len(assumed):
                    assumed[number] = size
            digest.update(assumed.tobytes())
        return digest.hexdigest()


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: uint8 (3, h, w), red, green and blue planes.
        converted: what it was before it was made 8-bit RGB, in a word (``grey``, ``CMYK``, ...); empty for nothing.
    """

    pixels: np.ndarray
    converted: str = ""


class Source(Protocol):
    """A labelled set of images. Implementations are small, frozen and picklable: tasks carry them to workers."""

    @property
    def default_order(self) -> str:
        """``"source"``, or ``"shuffled"`` where the source's own order is sorted by class."""
        ...

    def index(self) -> SourceIndex:
        """List everything once, in the driver. Raises PipelineError where the data is missing or wrong."""
        ...

    @property
    def default_geometry(self) -> Geometry:
        """What becomes of an image's size where the user asks for nothing else."""
        ...

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """The entry's bytes, or the first ``most`` of them. Raises OSError, which is retried: a failing disk is not a
        bad image."""
        ...

    def decode(self, raw: bytes) -> Picture:
        """The image. Raises Undecodable: it becomes a reject."""
        ...
