"""Reads the label column of Parquet files, one page at a time."""

import threading
from collections.abc import Sequence

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.class_list import MOST_UNNAMED
from pipeline.sources.parquet.footer import Column, Footer
from pipeline.sources.parquet.values import Bytes, column_pages, page_numbers, page_values, plain_values, turn

UNLABELLED = -1  # in the label columns of the Hub: an image of a test split whose label is not published
_LARGEST_NAME = 1000  # bytes
_LARGEST_PAGE = 1 << 26  # bytes of a page of labels after decompression


class Labels:
    """The labels of all files of a source. Several threads may add to them.

    Args:
        kind: ``names`` or ``numbers``.
        classes: class names in the order of the labels; None if there are none.
    """

    def __init__(self, kind: str, classes: Sequence[str] | None) -> None:
        self._kind, self._classes = kind, classes
        self._codes: dict[str, int] = {name: number for number, name in enumerate(classes or ())}
        self._lock = threading.Lock()  # for new codes

    def add(self, footer: Footer, group: int, column: Column) -> np.ndarray:
        """Reads the labels of a row group.

        Returns:
            int64 (n,): numbers for ``classes``; -1 for a row without a label.

        Raises:
            PipelineError: a label is no class name, or is out of range.
            Damaged: the column is damaged.
        """
        read = self._names if self._kind == "names" else self._numbers
        labels = read(footer, group, column)
        if self._kind == "numbers":
            self._check_range(footer, group, labels)
        return labels

    def _numbers(self, footer: Footer, group: int, column: Column) -> np.ndarray:
        labels = np.full(footer.rows[group], UNLABELLED, np.int64)
        dictionary, row = None, 0
        for page, load in column_pages(footer, group, column, _LARGEST_PAGE):
            with turn(page):
                content = load()
                if page.is_dictionary:
                    dictionary = page_numbers(page, content, 0, column.physical, None)[1]
                    continue
                present, numbers = page_numbers(page, content, column.level, column.physical, dictionary)
                labels[row + np.flatnonzero(present)] = numbers
                row += page.values
        return labels

    def _check_range(self, footer: Footer, group: int, labels: np.ndarray) -> None:
        most = len(self._classes) if self._classes else MOST_UNNAMED
        wrong = np.flatnonzero((labels < UNLABELLED) | (labels >= most))
        if len(wrong):
            row = sum(footer.rows[:group]) + int(wrong[0])
            allowed = f"its metadata name {most:,} classes" if self._classes else f"at most {most:,} classes are read"
            raise PipelineError(
                f"{footer.path}: row {row:,} has the label {labels[wrong[0]]}; labels are 0, 1, 2, ... and {allowed}"
            )

    def _names(self, footer: Footer, group: int, column: Column) -> np.ndarray:
        labels = np.full(footer.rows[group], UNLABELLED, np.int64)
        dictionary, in_dictionary, row = None, None, 0
        for page, load in column_pages(footer, group, column, _LARGEST_PAGE):
            with turn(page):
                content = load()
                if page.is_dictionary:
                    dictionary, in_dictionary = plain_values(content, 0, page.size, page.values), content
                    continue
                values = page_values(page, content, column.level, dictionary)
                text = in_dictionary if values.in_dictionary and in_dictionary else content
                positions, first, places = np.unique(values.positions, return_index=True, return_inverse=True)
                codes = [
                    self._code(footer, text, position, size)
                    for position, size in zip(positions.tolist(), values.sizes[first].tolist(), strict=True)
                ]
                labels[row + np.flatnonzero(values.present)] = np.array(codes, np.int64)[places]
                row += page.values
        return labels

    def _code(self, footer: Footer, text: Bytes, position: int, size: int) -> int:
        raw = text(position, min(size, _LARGEST_NAME + 1))
        name = raw.decode("utf-8", "replace")
        if name in self._codes:
            return self._codes[name]
        if self._classes is not None:
            raise PipelineError(f"{footer.path}: the label {name[:60]!r} is not among the class names of its metadata")
        if not name.strip() or "\0" in name or size > _LARGEST_NAME or name.encode() != raw:
            raise PipelineError(f"{footer.path} has the label {name[:60]!r}, which is no class name")
        with self._lock:
            if len(self._codes) >= MOST_UNNAMED:
                raise PipelineError(f"{footer.path}: its label column has more than {MOST_UNNAMED:,} different names")
            return self._codes.setdefault(name, len(self._codes))

    def classes(self, labels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Returns the class names, and the final labels of all rows, int64 (n,).

        The names are those of the metadata; or the names in the column, bytewise sorted; or the numbers as text.

        Args:
            labels: of all rows, as ``add`` has returned them.
        """
        if self._classes is not None:
            return list(self._classes), labels
        if self._kind == "numbers":
            return [str(number) for number in range(int(labels.max(initial=-1)) + 1)], labels
        names = sorted(self._codes, key=str.encode)
        final = np.full(len(names) + 1, UNLABELLED, np.int64)  # the last place is that of -1
        for label, name in enumerate(names):
            final[self._codes[name]] = label
        return names, final[labels]
