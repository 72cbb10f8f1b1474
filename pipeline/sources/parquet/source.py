"""The source of Parquet files: rows with an image and a label, read in place in the files' own order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.class_list import read_class_list
from pipeline.sources.images import decode_image
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.parquet.files import find_files
from pipeline.sources.parquet.place import read_image
from pipeline.sources.parquet.scan import scan_files
from pipeline.sources.saved_index import Columns, saved, unpack

_SCAN = 2  # increase it when ``scan_files`` accepts or returns something else


@dataclass(frozen=True)
class Parquet:
    """The files that ``find_files`` finds in ``root``.

    An entry's name is the number of its row in the split, from 0: ``datasets`` gives the same row at this position. So names
    do not depend on the division into files. Rows without an image or a label are left out.

    Attributes:
        root: absolute.
        image_key, label_key: names of the columns. None: ``choose`` finds them.
        classes: a class list, as for ``read_class_list``, which has a place for every class. None: the classes are those of
            the files.
    """

    root: Path
    image_key: str | None = None
    label_key: str | None = None
    classes: Path | None = None
    default_order = "source"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Lists every row. Each file is scanned once, later the saved index is used.

        Raises:
            PipelineError: there are no files or several configurations, a file is damaged, a column is missing, files have
                different columns, or no row has an image and a label.
        """
        located = find_files(self.root)
        paths = [self.root / file for files in located.splits.values() for file in files]
        settings = f"scan {_SCAN}, image key {self.image_key!r}, label key {self.label_key!r}"
        columns = saved("parquet", paths, settings, lambda: scan_files(paths, self.image_key, self.label_key))
        classes, columns["labels"] = self._classes(unpack(columns["classes"]), columns["labels"])
        parts = list(_splits(located.splits, columns))
        left_out = (*located.left_out, *(note for part in parts for note in part.left_out))
        splits = {part.name: part.rows for part in parts if len(part.rows)}
        if not splits:
            raise PipelineError(
                f"{self.root}: no row of its {len(paths)} Parquet files has an image and a label{_why(left_out)}"
            )
        image, label = unpack(columns["columns"])
        return SourceIndex(
            classes=classes,
            splits=splits,
            shape=None,
            title="Parquet files",
            terms="The terms of the images in the files apply; they are not known to this program.",
            note="; ".join(left_out),
            left_out=left_out,
            in_order=any(bool((split.offsets < 0).any()) for split in splits.values()),  # in compressed pages
            readings=(*located.readings, f"the images are those of column {image}, the labels those of {label}"),
        )

    def _classes(self, names: list[str], labels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Returns the class names and the labels after ``--classes``. Raises PipelineError."""
        if self.classes is None:
            return names, labels
        class_list = read_class_list(self.classes)
        label_of = class_list.labels(names, str(self.root))
        final = np.array([*(label_of[name] for name in names), -1], np.int64)  # the last place is that of -1
        return class_list.names, final[labels]

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the image file, or its first bytes. Raises OSError, also if the file has changed."""
        return read_image(os.path.join(self.root, entry.file), entry.offset, entry.size, most)

    def decode(self, raw: bytes) -> Picture:
        """Decodes an image. Raises Undecodable."""
        return decode_image(raw)


class _Split(NamedTuple):
    name: str
    rows: SplitIndex
    left_out: list[str]


def _splits(files: dict[str, list[str]], columns: Columns) -> Iterator[_Split]:
    """Yields the rows of each split that have an image and a label."""
    counts, first, start = columns["counts"], 0, 0
    for split, names in files.items():
        rows = counts[first : first + len(names)]
        span = slice(start, start + int(rows.sum()))
        sizes, labels, offsets = (columns[column][span] for column in ("sizes", "labels", "offsets"))
        file_ids = np.repeat(np.arange(len(names), dtype=np.int32), rows)
        image, label = sizes >= 0, labels >= 0
        taken = np.flatnonzero(image & label)
        index = SplitIndex(
            names=[f"{row:08d}" for row in taken.tolist()],
            labels=labels[taken].astype(np.int32),
            files=names,
            file_ids=file_ids[taken],
            offsets=offsets[taken],
            sizes=sizes[taken],
        )
        yield _Split(
            split,
            index,
            [*_missing(split, "the bytes of an image", ~image), *_missing(split, "a label", image & ~label)],
        )
        first, start = first + len(names), span.stop


def _missing(split: str, what: str, rows: np.ndarray) -> list[str]:
    if not rows.any():
        return []
    return [f"rows of {split} without {what}, left out: {int(rows.sum())} (the first is row {int(rows.argmax())})"]


def _why(left_out: tuple[str, ...]) -> str:
    return f" ({'; '.join(left_out)})" if left_out else ""
