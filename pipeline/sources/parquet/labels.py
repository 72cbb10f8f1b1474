"""Reads the label column of Parquet files, one row group at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.parquet.footer import Footer
from pipeline.sources.parquet.pages import Damaged, pages
from pipeline.sources.webdataset.classes import MOST_UNNAMED

UNLABELLED = -1  # in the label columns of the Hub: an image of a test split whose label is not published
_LARGEST_NAME = 1000  # bytes
_LARGEST_PAGES = 1 << 28  # bytes of the pages of labels in one row group, after decompression


class Labels:
    """The labels of all files of a source, in the order in which ``add`` reads them.

    Args:
        kind: ``names`` or ``numbers``.
        classes: class names in the order of the labels; None if there are none.
    """

    def __init__(self, kind: str, classes: Sequence[str] | None) -> None:
        self._kind, self._classes = kind, classes
        self._codes: dict[str, int] = {name: number for number, name in enumerate(classes or ())}

    def add(self, footer: Footer, group: int, column: str) -> np.ndarray:
        """Reads the labels of a row group.

        Returns:
            int64 (n,): numbers for ``classes``; -1 for a row without a label.

        Raises:
            PipelineError: a label is no class name, or is out of range.
            Damaged: the column is damaged.
        """
        _check_size(footer, group, column)
        values = footer.column(group, column)
        if len(values) != footer.rows[group]:
            raise Damaged("its footer is damaged")
        return self._named(footer, values) if self._kind == "names" else self._numbers(footer, group, values)

    def _numbers(self, footer: Footer, group: int, values: Any) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(values.type):
            values = pc.dictionary_decode(values)
        numbers: np.ndarray = values.cast(pa.int64()).fill_null(UNLABELLED).to_numpy()
        most = len(self._classes) if self._classes else MOST_UNNAMED
        wrong = np.flatnonzero((numbers < UNLABELLED) | (numbers >= most))
        if len(wrong):
            row = sum(footer.rows[:group]) + int(wrong[0])
            allowed = f"its metadata name {most:,} classes" if self._classes else f"at most {most:,} classes are read"
            raise PipelineError(
                f"{footer.path}: row {row:,} has the label {numbers[wrong[0]]}; labels are 0, 1, 2, ... and {allowed}"
            )
        return numbers

    def _named(self, footer: Footer, values: Any) -> np.ndarray:
        import pyarrow as pa

        values = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        names = values.dictionary.to_pylist()
        codes = np.array([self._code(footer, name) for name in names] or [UNLABELLED], np.int64)
        indices = values.indices.cast(pa.int64()).fill_null(len(names)).to_numpy()
        codes = np.append(codes, UNLABELLED) if names else codes
        taken: np.ndarray = codes[indices]
        return taken

    def _code(self, footer: Footer, name: str | None) -> int:
        if name is None:
            return UNLABELLED
        if name in self._codes:
            return self._codes[name]
        if self._classes is not None:
            raise PipelineError(f"{footer.path}: the label {name[:60]!r} is not among the class names of its metadata")
        if not name.strip() or "\0" in name or len(name.encode()) > _LARGEST_NAME:
            raise PipelineError(f"{footer.path} has the label {name[:60]!r}, which is no class name")
        if len(self._codes) >= MOST_UNNAMED:
            raise PipelineError(f"{footer.path}: its label column has more than {MOST_UNNAMED:,} different names")
        self._codes[name] = len(self._codes)
        return self._codes[name]

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


def _check_size(footer: Footer, group: int, column: str) -> None:
    """Raises Damaged if few bytes unpack to many: pyarrow decompresses whatever size a page claims."""
    number = next(leaf.number for leaf in footer.columns if leaf.path == column)
    chunk = footer.chunk(group, number)
    size = sum(page.size for page in pages(footer.read, chunk.start, chunk.end, chunk.rows))
    if size > _LARGEST_PAGES:
        raise Damaged(f"the labels of one row group have {size:,} bytes; at most {_LARGEST_PAGES:,} are read")
