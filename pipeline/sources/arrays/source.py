"""The source of NumPy arrays: images and labels, read in place in the order of the rows."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.arrays.folder import open_folder
from pipeline.sources.arrays.images import Form, NotGreyLevels, as_file, as_picture, form_of, grey_levels
from pipeline.sources.arrays.layout import Layout, Part
from pipeline.sources.class_list import MOST_UNNAMED, ClassList, read_class_list
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_range
from pipeline.sources.saved_index import Columns, pack, saved, unpack

_PIECE = 1 << 24  # bytes of images that are in memory at once
_SCAN = 1  # increase it when ``_scan`` accepts or computes something else


@dataclass(frozen=True)
class Block:
    """The images of one array: the file, the range of its bytes, and how an image is stored."""

    file: str
    start: int
    end: int
    form: Form


@dataclass(frozen=True)
class Arrays:
    """The arrays that ``open_folder`` finds. ``open_arrays`` makes it.

    An entry's name is the number of its row in the split, from 0. Its offset and size are those of its values in the file.

    Attributes:
        root: absolute; the folder of the arrays' files.
        layout: the splits.
        classes: class names; None: the numbers as text.
    """

    root: Path
    layout: Layout
    blocks: tuple[Block, ...]
    classes: ClassList | None = None
    default_order = "source"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Reads all labels and all images once; later the saved digests of the images are used.

        Raises:
            PipelineError: labels are no class numbers, floats are no grey levels, or a file cannot be read.
        """
        parts = self.layout.parts
        labels = [_labels(part, self.classes) for part in parts]
        paths = list(dict.fromkeys(part.images.path for part in parts))
        settings = repr((_SCAN, [(part.split, part.first, part.rows, part.images) for part in parts]))
        digests = unpack(saved("arrays", paths, settings, lambda: _scan(parts))["digests"])
        forms = [form_of(part.images) for part in parts]
        shapes = {(form.height, form.width) for form in forms}
        largest = max(int(column.max()) for column in labels)
        return SourceIndex(
            classes=self.classes.names if self.classes else [str(label) for label in range(largest + 1)],
            splits={
                part.split: self._split(part, form, column)
                for part, form, column in zip(parts, forms, labels, strict=True)
            },
            shape=shapes.pop() if len(shapes) == 1 else None,
            title="NumPy arrays",
            terms="The terms of the images in the arrays apply; they are not known to this program.",
            note="; ".join(self.layout.left_out),
            checksums={part.split: digest for part, digest in zip(parts, digests, strict=True)},
            left_out=self.layout.left_out,
            readings=self.layout.readings,
        )

    def _split(self, part: Part, form: Form, labels: np.ndarray) -> SplitIndex:
        rows = np.arange(part.rows, dtype=np.int64)
        return SplitIndex(
            names=[f"{row:08d}" for row in range(part.rows)],
            labels=labels,
            files=[os.path.relpath(part.images.path, self.root)],
            file_ids=np.zeros(part.rows, np.int32),
            offsets=part.images.offset + (part.first + rows) * form.size,
            sizes=np.full(part.rows, form.size, np.int64),
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the image as a PPM or PGM file, or its first bytes. Raises OSError, also if the file has changed."""
        path = os.path.join(self.root, entry.file)
        raw = read_range(path, entry.offset, entry.size)
        try:
            return as_file(self._form(entry), raw)[:most]
        except NotGreyLevels:
            raise OSError(f"{path} has changed since it was indexed") from None

    def _form(self, entry: Entry) -> Form:
        for block in self.blocks:
            if block.file == entry.file and block.start <= entry.offset < block.end:
                return block.form
        raise OSError(f"{entry.file} has changed since it was indexed")

    def decode(self, raw: bytes) -> Picture:
        """Returns the pixels of a whole image that ``read`` has returned."""
        return as_picture(raw)


def open_arrays(data_dir: Path, classes: Path | None = None) -> Arrays:
    """Opens the arrays in a folder, or in an .npz file.

    Args:
        classes: a class list, as for ``read_class_list``. None: the file beside the arrays, if there is one.

    Raises:
        PipelineError: there are none, it is not clear what they are, or one of them is no array of images or labels.
    """
    root, layout, beside = open_folder(data_dir)
    blocks = {}
    for part in layout.parts:
        array, form = part.images, form_of(part.images)
        end = array.offset + array.shape[0] * form.size
        blocks[array] = Block(os.path.relpath(array.path, root), array.offset, end, form)
    return Arrays(root, layout, tuple(blocks.values()), read_class_list(classes) if classes else beside)


def _labels(part: Part, classes: ClassList | None) -> np.ndarray:
    """Returns the labels of a split, int32 (n,). Raises PipelineError."""
    array, dtype = part.labels, np.dtype(part.labels.dtype)
    if dtype.kind not in "iu":
        raise PipelineError(f"{array.name} holds {dtype}: labels must be whole numbers (integers)")
    if len(array.shape) > 1 and array.shape[1:] != (1,):
        raise PipelineError(f"{array.name} has the shape {array.shape}: one label per image is needed, (n,) or (n, 1)")
    try:
        every = array.values().reshape(-1)[part.first_label : part.first_label + part.rows]
    except OSError as error:
        raise PipelineError(f"{array.path} cannot be read: {error.strerror or error}") from None
    most = len(classes.names) if classes else MOST_UNNAMED
    wrong = np.flatnonzero((every < 0) | (every >= most))
    if len(wrong):
        row, named = (
            int(wrong[0]),
            f"{classes.origin} names {most:,} classes" if classes else f"at most {most:,} are read",
        )
        raise PipelineError(
            f"{array.name} has the label {every[row]} in row {part.first_label + row:,}: labels are 0, 1, 2, ... "
            f"and {named}"
        )
    return every.astype(np.int32)


def _scan(parts: Sequence[Part]) -> Columns:
    """Reads the images of all splits. Returns ``digests``: the SHA-256 of the stored values of each split, packed.

    Raises:
        PipelineError: floats are no grey levels.
        OSError: a file cannot be read.
    """
    return {"digests": pack([_digest(part) for part in parts])}


def _digest(part: Part) -> str:
    form, digest = form_of(part.images), hashlib.sha256()
    each = max(1, _PIECE // form.size)
    for row in range(part.first, part.first + part.rows, each):
        count = min(each, part.first + part.rows - row)
        raw = read_range(str(part.images.path), part.images.offset + row * form.size, count * form.size)
        digest.update(raw)
        try:
            grey_levels(np.frombuffer(raw, form.dtype))
        except NotGreyLevels as error:
            raise PipelineError(f"{part.images.name}: {error}") from None
    return digest.hexdigest()
