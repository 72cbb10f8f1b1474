"""The class names of a WebDataset: one a line in a text file, or else the labels' numbers."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage.files import regular_descriptor

DEFAULT = "classnames.txt"
_LARGEST = 64 << 20  # bytes
MOST_UNNAMED = 100_000


def read_classes(root: Path, given: Path | None) -> tuple[list[str], str] | None:
    """Names and the file that they come from; None where none is given and ``root`` has no ``classnames.txt``.

    Args:
        given: absolute, or relative to the current directory.

    Raises:
        PipelineError: the file cannot be read, is empty, no UTF-8 text, or names a class twice or not at all.
    """
    path = given or root / DEFAULT
    if given is None and not path.is_file():
        return None
    try:
        with open(regular_descriptor(path), "rb") as file:
            content = file.read(_LARGEST + 1)
        lines = content.decode("utf-8-sig").splitlines() if len(content) <= _LARGEST else []
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path} is no UTF-8 text: it should hold one class name a line") from None
    names = [line.strip() for line in lines]
    if not names:
        raise PipelineError(f"{path} holds no class names: it should hold one a line")
    places: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise PipelineError(f"{path}: line {number} is empty; the first line names label 0, the next label 1, ...")
        if name in places:
            raise PipelineError(f"{path}: line {number} names {name!r} again, as line {places[name]} does")
        places[name] = number
    return names, str(path)
