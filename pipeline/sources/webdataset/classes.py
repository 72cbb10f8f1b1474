"""The class names of a WebDataset: one per line of a text file."""

from pathlib import Path

from pipeline.sources.class_list import CLASSNAMES, ClassList, read_class_list


def read_classes(root: Path, file: Path | None) -> ClassList | None:
    """Reads the class names. Returns None if no file is given and ``root`` has no ``classnames.txt``.

    Args:
        file: as for ``read_class_list``.

    Raises:
        PipelineError: the file cannot be read, is empty, is no UTF-8 text, or has an empty line.
    """
    path = file or root / CLASSNAMES
    return read_class_list(path) if file or path.is_file() else None
