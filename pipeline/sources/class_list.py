"""Class lists: the names of all labels in their order, from a file or the thousand classes of ImageNet."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.class_names import distinct
from pipeline.errors import PipelineError, nearest, one_line
from pipeline.sources.text_files import read_text
from pipeline.storage.files import TooLong

OFFICIAL = Path("imagenet")  # the word in the place of a file
CLASSNAMES = "classnames.txt"  # the class list beside WebDataset shards, and others
MOST_UNNAMED = 100_000  # classes of a source that names none
_LARGEST = 64 << 20  # bytes
_WORDNET_ID = re.compile(r"n\d{8}(?=\s)")
_FORMS = "one class name per line, or JSON: a list of names, or an object with the list classes"


class ClassList(NamedTuple):
    """Class names, position = label.

    Attributes:
        names: distinct names.
        origin: where they come from, for messages.
        repeated: names that several labels have in the file. There they got their label appended: ``crane (134)``.
        also: other spellings of names, with their labels: words of ImageNet's classes, or the WordNet id that begins a line.
    """

    names: list[str]
    origin: str
    repeated: tuple[str, ...] = ()
    also: tuple[tuple[str, int], ...] = ()

    def labels(self, classes: Sequence[str], place: str) -> dict[str, int]:
        """Returns the label of each class of a source.

        A class is found by its name in any Unicode normal form, or by another spelling. If all classes are numbers and no
        name of the list is one, the numbers are the labels, as in ImageNet-V2.

        Args:
            classes: distinct names.
            place: the source, for errors.

        Raises:
            PipelineError: a class is not in the list, or two classes have one label.
        """
        labels = {_plain(name): label for name, label in self.also}
        labels |= {_plain(name): label for label, name in enumerate(self.names)}
        if all(map(_is_number, classes)) and not any(map(_is_number, self.names)):
            labels = {name: int(name) for name in classes if int(name) < len(self.names)}
        missing = [name for name in classes if _plain(name) not in labels]
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise PipelineError(
                f"{place}: the class {one_line(missing[0])}{more} is not in the {len(self.names):,} names of {self.origin}"
                f"{nearest(missing[0], self.names)}; correct its name, add it to a list of your own (--classes FILE), or "
                "move its images elsewhere"
            )
        classes_of: dict[int, str] = {}
        for name in classes:
            label = labels[_plain(name)]
            if label in classes_of:
                raise PipelineError(
                    f"{place}: {one_line(classes_of[label])} and {one_line(name)} are both the class "
                    f"{one_line(self.names[label])} of {self.origin}; merge them, or move one elsewhere"
                )
            classes_of[label] = name
        return {name: label for label, name in classes_of.items()}


def read_class_list(file: Path) -> ClassList:
    """Returns a class list.

    Args:
        file: ``imagenet`` for the classes of ILSVRC 2012 in their official order, or a text or JSON file: absolute, or
            relative to the current directory.

    Raises:
        PipelineError: the file cannot be read, is empty, is no UTF-8 text, or has an empty line.
    """
    if file == OFFICIAL:
        return _official()
    if not file.exists():
        raise PipelineError(
            f"{file} does not exist{nearest(str(file), [str(OFFICIAL)])}; --classes takes a file of class names, or the "
            f"word {OFFICIAL}"
        )
    try:
        text = read_text(file, _LARGEST, f"it should hold {_FORMS}").removeprefix("\ufeff")  # a byte order mark
    except TooLong:
        text = ""
    names = _from_json(text, file) if file.suffix.lower() == ".json" else [line.strip() for line in text.splitlines()]
    if not names:
        raise PipelineError(f"{file} holds no class names: it should hold {_FORMS}")
    if "" in names:
        line = names.index("") + 1
        raise PipelineError(f"{file}: line {line} is empty; the first line names label 0, the next label 1, ...")
    return of_names(names, str(file))


def of_names(names: Sequence[str], origin: str) -> ClassList:
    """Returns the list of names that need not be distinct."""
    counts = Counter(names)
    ids = [match[0] if (match := _WORDNET_ID.match(name)) else "" for name in names]
    also = tuple((name, label) for label, name in enumerate(ids)) if all(ids) and len({*ids}) == len(ids) else ()
    repeated = tuple(name for name, count in counts.items() if count > 1)
    return ClassList(distinct(names), origin, repeated, also)


def images_per_class(labels: Iterable[np.ndarray], classes: int) -> str:
    """Returns how many classes have images in words, such as ``40 of 1,000 classes have images``; "" if all have.

    Args:
        labels: the labels of each split, int (n,).
    """
    used = np.unique(np.concatenate([np.unique(split) for split in labels])).size
    return f"{used:,} of {classes:,} classes have images" if used < classes else ""


def _official() -> ClassList:
    from pipeline.sources.imagenet import manifest

    synsets = manifest.load().synsets
    counts = Counter(synsets.values())
    words = tuple((words, label) for label, words in enumerate(synsets.values()) if counts[words] == 1)
    return ClassList([*synsets], "ILSVRC 2012 (--classes imagenet)", also=words)


def _from_json(text: str, file: Path) -> list[str]:
    """Returns the names of a list, of an object with the list ``classes``, or of an object by label (Keras' file)."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise PipelineError(f"{file} is no valid JSON: it should hold {_FORMS}") from None
    if isinstance(content, dict) and "classes" in content:
        content = content["classes"]
    if isinstance(content, dict) and content.keys() == {*map(str, range(len(content)))}:
        content = [content[str(label)] for label in range(len(content))]
        content = [value[0] if isinstance(value, list) and value else value for value in content]
    if not isinstance(content, list) or not all(isinstance(name, str) and name.strip() for name in content):
        raise PipelineError(f"{file} holds no list of class names: it should hold {_FORMS}")
    return [name.strip() for name in content]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10
