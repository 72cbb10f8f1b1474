"""The interface of sources: entries, the indexes of splits, and the fingerprint of a whole source."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Protocol, overload

import numpy as np

from pipeline.numerics.geometry import Geometry
from pipeline.sources.names import Names


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source.

    Attributes:
        index: its position in the source's order, which is the number in its key.
        name: its original name.
        file: the file that holds its bytes, relative to the source's root.
        offset, size: the range of its bytes in the file.
    """

    index: int
    name: str
    label: int
    file: str
    offset: int
    size: int


@dataclass(frozen=True)
class SplitIndex:
    """One split in the source's order. Columns, because a million objects would need much memory.

    Attributes:
        names: original names, unique in the split. Any iterable of texts becomes ``Names``.
        labels: int32 (n,), indices into ``SourceIndex.classes``.
        files: the distinct files, relative to the source's root; as ``names``.
        file_ids: int32 (n,), indices into ``files``.
        offsets, sizes: int64 (n,), bytes.
    """

    names: Names
    labels: np.ndarray
    files: Names
    file_ids: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __init__(
        self,
        names: Iterable[str],
        labels: np.ndarray,
        files: Iterable[str],
        file_ids: np.ndarray,
        offsets: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        columns = (Names.of(names), labels, Names.of(files), file_ids, offsets, sizes)
        for own, column in zip(fields(self), columns, strict=True):
            object.__setattr__(self, own.name, column)  # frozen

    def __len__(self) -> int:
        return len(self.names)

    def entry(self, index: int) -> Entry:
        return Entry(
            index,
            self.names[index],
            int(self.labels[index]),
            self.files[int(self.file_ids[index])],
            int(self.offsets[index]),
            int(self.sizes[index]),
        )


class Entries(Sequence[Entry]):
    """Entries of a split in any order. Pickling it pickles their columns, and not the rest of the split.

    Args:
        split: the split that the entries are from.
        indices: int64 (n,), the entries' positions in the source's order.
        rows: int64 (n,), their positions in the columns of ``split``, if it does not hold all entries. Default: ``indices``.
    """

    def __init__(self, split: SplitIndex, indices: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._split, self.indices, self._rows = split, indices, indices if rows is None else rows

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        return replace(self._split.entry(int(self._rows[place])), index=int(self.indices[place]))

    def __reduce__(self) -> tuple[Any, ...]:
        split, rows = self._split, self._rows
        used, file_ids = np.unique(split.file_ids[rows], return_inverse=True)
        columns = SplitIndex(
            names=split.names.take(rows),
            labels=split.labels[rows],
            files=split.files.take(used),
            file_ids=file_ids.astype(np.int32),
            offsets=split.offsets[rows],
            sizes=split.sizes[rows],
        )
        return Entries, (columns, self.indices.copy(), np.arange(len(self)))

    def digest(self) -> str:
        """Returns the SHA-256 of positions, names, labels and sizes."""
        digest = hashlib.sha256(self._split.names.take(self._rows).joined)
        for column in (self.indices, self._split.labels[self._rows], self._split.sizes[self._rows]):
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class SourceIndex:
    """A whole source: its splits, its classes, and what an output says about its origin.

    Attributes:
        classes: class names, position = label.
        splits: in the order in which they are built.
        shape: (height, width) in pixels of every image; None if sizes vary.
        title, terms, note: for the dataset card. ``note`` says what is left out or looks wrong (may be empty).
        checksums: SHA-256 of contents, by a name that is the same in every layout of the source.
        verified: whether the official checksums match. False: ``--allow-unverified`` accepted other content. None: there are
            no official checksums, or they were not compared.
        left_out: what of the data is not read, and why.
        in_order: whether images are read much faster one after the other, in the source's order.
        readings: how the names of files, folders and columns were understood, for the user: what is not obvious, and, of
            folders, shards and ImageNet, what earlier versions did not understand.
    """

    classes: list[str]
    splits: dict[str, SplitIndex]
    shape: tuple[int, int] | None
    title: str
    terms: str
    note: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    verified: bool | None = None
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    in_order: bool = False

    def fingerprint(self, sizes: Mapping[tuple[str, int], int] | None = None) -> str:
        """Returns the SHA-256 of names, sizes, labels, classes and checksums. Times and absolute paths are not in it.

        Args:
            sizes: sizes to use instead, by split and index.
        """
        digest = hashlib.sha256()
        head = {"classes": self.classes, "checksums": self.checksums}
        digest.update(json.dumps(head, sort_keys=True).encode())
        for split, index in sorted(self.splits.items()):
            digest.update(json.dumps([split, len(index)]).encode())
            digest.update(index.names.joined)
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
        converted: in a word, what was converted to 8-bit RGB (``grey``, ``CMYK``, ...); empty if it was RGB.
    """

    pixels: np.ndarray
    converted: str = ""


class Source(Protocol):
    """A labelled set of images. Implementations are small, frozen and picklable, because tasks carry them to workers."""

    @property
    def default_order(self) -> str:
        """``"source"``, or ``"shuffled"`` if the source's own order is sorted by class."""
        ...

    def index(self) -> SourceIndex:
        """Lists everything once, in the driver. Raises PipelineError if the data is missing or wrong."""
        ...

    @property
    def default_geometry(self) -> Geometry:
        """How images are resized and cropped by default."""
        ...

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the entry's bytes, or the first ``most`` of them. Raises OSError, which is tried again: a failing disk is
        not a bad image."""
        ...

    def decode(self, raw: bytes) -> Picture:
        """Decodes the image. Raises Undecodable, which makes it a reject."""
        ...
