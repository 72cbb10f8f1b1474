"""Lists the rows of Parquet files: the place of each image, and its label."""

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.parquet import place
from pipeline.sources.parquet.columns import Choice, choose
from pipeline.sources.parquet.footer import Chunk, Column, Footer, opened
from pipeline.sources.parquet.labels import Labels
from pipeline.sources.parquet.pages import (
    DICTIONARY,
    PLAIN,
    PLAIN_DICTIONARY,
    Damaged,
    Page,
    is_compressed,
    pages,
    unpacked,
)
from pipeline.sources.parquet.values import Bytes, Ranges, page_values, plain_values
from pipeline.sources.saved_index import Columns, pack

_SCANS = 4  # files at once: on a network file system a scan mostly waits
_WHOLE = 1 << 14  # bytes of a value: pages with smaller ones are read whole, of others only the lengths of the values
_LARGE = 1 << 24  # bytes of a page, of which one is in memory at a time
_LARGE_PAGE = threading.Lock()
_NO_IMAGE = -1  # size of a row without an image


@dataclass(frozen=True)
class Rows:
    """The images of one file, in the order of its rows.

    Attributes:
        offsets: int64 (n,), as ``place`` defines them; 0 without an image.
        sizes: int64 (n,), bytes; -1 without an image.
    """

    offsets: np.ndarray
    sizes: np.ndarray


def scan_files(paths: Sequence[Path], image_key: str | None, label_key: str | None) -> Columns:
    """Lists the rows of all files.

    Returns:
        ``counts`` int64 (files,): rows; ``offsets``, ``sizes``, ``labels`` int64 (rows,): as in ``Rows``, and -1 for a row
        without a label; ``classes``: packed class names; ``columns``: packed names of the columns of images and of labels.

    Raises:
        PipelineError: a file is damaged, lacks a column, or has other columns than the first.
        OSError: a file cannot be read.
    """
    choices = [_choice(path, image_key, label_key) for path in paths]
    _check_same(paths, choices)
    first = choices[0]
    with ThreadPoolExecutor(_SCANS) as pool:
        parts = list(pool.map(_rows, paths, (choice.image for choice in choices)))
    labels = Labels(first.kind, first.classes)
    codes = [_labels(path, first.label, labels) for path in paths]
    classes, final = labels.classes(np.concatenate(codes))
    return {
        "counts": np.array([len(part.sizes) for part in parts], np.int64),
        "offsets": np.concatenate([part.offsets for part in parts]),
        "sizes": np.concatenate([part.sizes for part in parts]),
        "labels": final,
        "classes": pack(classes),
        "columns": pack([first.image.path.removesuffix(".bytes"), first.label]),
    }


def _choice(path: Path, image_key: str | None, label_key: str | None) -> Choice:
    with opened(path) as footer:
        return choose(footer, image_key, label_key)


def _check_same(paths: Sequence[Path], choices: Sequence[Choice]) -> None:
    first = choices[0]
    for path, choice in zip(paths, choices, strict=True):
        if choice.describe() != first.describe():
            raise PipelineError(
                f"mixed schemas: {paths[0]} has {first.describe()}, {path} has {choice.describe()}; give the folder "
                "of one dataset"
            )
        if choice.classes != first.classes:
            raise PipelineError(f"mixed schemas: {paths[0]} and {path} have different class names")


def _labels(path: Path, column: str, labels: Labels) -> np.ndarray:
    with opened(path) as footer:
        parts = [labels.add(footer, group, column) for group in footer.groups]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _rows(path: Path, column: Column) -> Rows:
    """Lists the images of a file, one page at a time. Raises PipelineError."""
    with opened(path) as footer:
        parts = [_of_group(footer, footer.chunk(group, column.number), column) for group in footer.groups]
    offsets, sizes = (
        np.concatenate([np.zeros(0, np.int64), *columns])
        for columns in ([p.offsets for p in parts], [p.sizes for p in parts])
    )
    return Rows(offsets, sizes)


def _of_group(footer: Footer, chunk: Chunk, column: Column) -> Rows:
    offsets, sizes = np.zeros(chunk.rows, np.int64), np.full(chunk.rows, _NO_IMAGE, np.int64)
    dictionary: tuple[Page, Ranges] | None = None
    row = 0
    for page in pages(footer.read, chunk.start, chunk.end, chunk.rows):
        with _LARGE_PAGE if page.size > _LARGE else contextlib.nullcontext():
            if page.kind == DICTIONARY:
                dictionary = page, _dictionary(footer, page, chunk.codec)
                continue
            content = _content(footer, page, chunk.codec)
            values = page_values(page, content, column.level, dictionary[1] if dictionary else None)
            del content  # the memory of the page
        holder = dictionary[0] if values.in_dictionary and dictionary else page
        rows = row + np.flatnonzero(values.present)
        offsets[rows] = place.offsets(holder, values.positions, is_compressed(holder, chunk.codec), footer.path)
        sizes[rows] = values.sizes
        row += page.values
    return Rows(offsets, sizes)


def _dictionary(footer: Footer, page: Page, codec: str) -> Ranges:
    if page.encoding not in (PLAIN, PLAIN_DICTIONARY) or page.values * 4 > page.size:
        raise Damaged("its dictionary is damaged")
    return plain_values(_content(footer, page, codec), 0, page.size, page.values)


def _content(footer: Footer, page: Page, codec: str) -> Bytes:
    """Returns a function that reads the content of a page after decompression."""
    if not is_compressed(page, codec):
        if page.size != page.stored:
            raise Damaged(f"the page at byte {page.offset:,} has a damaged header")
        if page.stored > _WHOLE * max(page.values, 1):
            return lambda position, size: footer.read(page.body + position, min(size, page.size - position))
    raw = unpacked(page, footer.read(page.body, page.stored), codec)
    if len(raw) < page.size:
        raise Damaged(f"the page at byte {page.offset:,} is cut off")
    return lambda position, size: raw[position : position + size]
