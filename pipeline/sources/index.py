"""What a source is made of: entries, split indexes, and the fingerprint of the whole."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, overload

import numpy as np

from pipeline.numerics.geometry import Geometry


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


class Entries(Sequence[Entry]):
    """Some entries of a split, in an order of their own: columns, not objects, so that a million stay small.

    It pickles with what it holds and nothing else of the split.

    Args:
        split: where they are from.
        indices: int64 (n,), their places in the source's order.
    """

    def __init__(self, split: SplitIndex, indices: np.ndarray) -> None:
        used, file_ids = np.unique(split.file_ids[indices], return_inverse=True)
        self.indices = indices
        self.columns = SplitIndex(
            names=[split.names[i] for i in indices.tolist()],
            labels=split.labels[indices],
            files=[split.files[i] for i in used.tolist()],
            file_ids=file_ids.astype(np.int32),
            offsets=split.offsets[indices],
            sizes=split.sizes[indices],
        )

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return replace(self.columns.entry(range(len(self))[place]), index=int(self.indices[place]))

    def digest(self) -> str:
        """SHA-256 over places, names, labels and sizes."""
        digest = hashlib.sha256(b"\0".join(map(os.fsencode, self.columns.names)))
        for column in (self.indices, self.columns.labels, self.columns.sizes):
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class SourceIndex:
    """A whole source: every split, the classes, and what an output says about where it comes from.

    Attributes:
        classes: class names, position = label.
        splits: in the order in which they are built.
        shape: (height, width) in pixels of every image; None where sizes vary.
        title, terms, note: for the dataset card; ``note`` warns (may be empty).
        checksums: known SHA-256 of contents, by a name that is the same in every layout of the source.
        verified: whether the official checksums match; False only where ``--allow-unverified`` let other content through,
            None where there are none, or they were not compared.
    """

    classes: list[str]
    splits: dict[str, SplitIndex]
    shape: tuple[int, int] | None
    title: str
    terms: str
    note: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    verified: bool | None = None

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
