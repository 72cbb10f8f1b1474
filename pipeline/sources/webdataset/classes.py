"""The class names of a WebDataset: one per line of a text file."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer

DEFAULT = "classnames.txt"
MOST_UNNAMED = 100_000  # labels without a file of names
_LARGEST = 64 << 20  # bytes


class ClassNames(NamedTuple):
    """Class names, position = label, and the file that they come from.

    Attributes:
        repeated: names that several labels have in the file. There they got their label appended: ``crane (134)``.
    """

    names: list[str]
    file: str
    repeated: tuple[str, ...] = ()


def read_classes(root: Path, file: Path | None) -> ClassNames | None:
    """Reads the class names. Returns None if no file is given and ``root`` has no ``classnames.txt``.

    Args:
        file: absolute, or relative to the current directory.

    Raises:
        PipelineError: the file cannot be read, is empty, is no UTF-8 text, or has an empty line.
    """
    path = file or root / DEFAULT
    if file is None and not path.is_file():
        return None
    try:
        with open(regular_descriptor(path), "rb") as opened:
            content = opened.read(_LARGEST + 1)
        lines = content.decode("utf-8-sig").splitlines() if len(content) <= _LARGEST else []
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path} is no UTF-8 text: it should hold one class name per line") from None
    if fault := pointer(content):
        raise PipelineError(f"{path} is {fault}")
    names = [line.strip() for line in lines]
    if not names:
        raise PipelineError(f"{path} holds no class names: it should hold one per line")
    if "" in names:
        line = names.index("") + 1
        raise PipelineError(f"{path}: line {line} is empty; the first line names label 0, the next label 1, ...")
    counts = Counter(names)
    return ClassNames(_distinct(names), str(path), tuple(name for name, count in counts.items() if count > 1))


def _distinct(names: list[str]) -> list[str]:
    """Appends the label to names that several labels have; to all names if that gives equal ones again."""
    counts = Counter(names)
    distinct = [f"{name} ({label})" if counts[name] > 1 else name for label, name in enumerate(names)]
    if len(set(distinct)) < len(names):
        distinct = [f"{name} ({label})" for label, name in enumerate(names)]
    return distinct
