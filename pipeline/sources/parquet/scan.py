"""Lists the rows of Parquet files: the place of each image, and its label."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.parquet import place
from pipeline.sources.parquet.columns import Choice, choose
from pipeline.sources.parquet.footer import Column, Footer, opened
from pipeline.sources.parquet.labels import Labels
from pipeline.sources.parquet.pages import LARGEST_COMPRESSED, Page, is_compressed
from pipeline.sources.parquet.values import Ranges, column_pages, page_values, plain_values, turn
from pipeline.sources.saved_index import Columns, pack

_SCANS = 4  # files at once: on a network file system a scan mostly waits
_NO_IMAGE = -1  # size of a row without an image


@dataclass(frozen=True)
class Rows:
    """The images and labels of one file, in the order of its rows.

    Attributes:
        offsets: int64 (n,), as ``place`` defines them; 0 without an image.
        sizes: int64 (n,), bytes; -1 without an image.
        labels: int64 (n,), as ``Labels.add`` returns them.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray


def scan_files(paths: Sequence[Path], image_key: str | None, label_key: str | None) -> Columns:
    """Lists the rows of all files.

    Returns:
        ``counts`` int64 (files,): rows; ``offsets``, ``sizes``, ``labels`` int64 (rows,): as in ``Rows``, and -1 for a row
        without a label; ``classes``: packed class names; ``columns``: packed names of the columns of images and of labels.

    Raises:
        PipelineError: a file is damaged, lacks a column, or has other columns than the first.
        OSError: a file cannot be read.
    """
    choices = {path: choice for path in paths if (choice := _choice(path, image_key, label_key))}
    if not choices:
        raise PipelineError(f"{paths[0]}{' and all others' if len(paths) > 1 else ''}: no rows")
    _check_same(choices)
    first = next(iter(choices.values()))
    labels = Labels(first.kind, first.classes)
    with ThreadPoolExecutor(_SCANS) as pool:
        parts = list(pool.map(_rows, choices, choices.values(), itertools.repeat(labels)))
    classes, final = labels.classes(np.concatenate([part.labels for part in parts]))
    counts = dict(zip(choices, (len(part.sizes) for part in parts), strict=True))
    return {
        "counts": np.array([counts.get(path, 0) for path in paths], np.int64),
        "offsets": np.concatenate([part.offsets for part in parts]),
        "sizes": np.concatenate([part.sizes for part in parts]),
        "labels": final,
        "classes": pack(classes),
        "columns": pack([first.image.path[0], first.label.path[0]]),
    }


def _choice(path: Path, image_key: str | None, label_key: str | None) -> Choice | None:
    """Returns the columns of a file. None: it has no rows, and perhaps no types either."""
    with opened(path) as footer:
        if not footer.groups:
            return None
        choice = choose(footer, image_key, label_key)
        footer.check_rows()
        return choice


def _check_same(choices: Mapping[Path, Choice]) -> None:
    of, first = next(iter(choices.items()))
    for path, choice in choices.items():
        if choice.describe() != first.describe():
            raise PipelineError(
                f"mixed schemas: {of} has {first.describe()}, {path} has {choice.describe()}; give the folder "
                "of one dataset"
            )
        if choice.classes != first.classes:
            raise PipelineError(f"mixed schemas: {of} and {path} have different class names")


def _rows(path: Path, choice: Choice, labels: Labels) -> Rows:
    """Lists the images and labels of a file, one page at a time. Raises PipelineError."""
    with opened(path) as footer:
        images = [_images(footer, group, choice.image) for group in footer.groups]
        codes = [labels.add(footer, group, choice.label) for group in footer.groups]
        offsets, sizes = zip(*images, strict=True)
        return Rows(np.concatenate(offsets), np.concatenate(sizes), np.concatenate(codes))


def _images(footer: Footer, group: int, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``offsets`` and ``sizes`` of a row group, as in ``Rows``."""
    count, codec = footer.rows[group], footer.chunk(group, column).codec
    offsets, sizes = np.zeros(count, np.int64), np.full(count, _NO_IMAGE, np.int64)
    dictionary: tuple[Page, Ranges] | None = None
    row = 0
    for page, load in column_pages(footer, group, column, LARGEST_COMPRESSED):
        with turn(page):
            content = load()
            if page.is_dictionary:
                dictionary = page, plain_values(content, 0, page.size, page.values)
                continue
            values = page_values(page, content, column.level, dictionary[1] if dictionary else None)
            del content  # the memory of the page
        holder = dictionary[0] if values.in_dictionary and dictionary else page
        rows = row + np.flatnonzero(values.present)
        offsets[rows] = place.offsets(holder, values.positions, is_compressed(holder, codec), footer.path)
        sizes[rows] = values.sizes
        row += page.values
    return offsets, sizes
