"""Class names of dataset objects, and the label of each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UsageError, one_line
from pipeline.sources.class_list import MOST_UNNAMED, ClassList, of_names, read_class_list
from pipeline.sources.objects.items import Key

Labels = list[int] | list[str]  # of a split, one per item


class Labelled(NamedTuple):
    """The classes, and the labels of each split, int32 (n,)."""

    classes: list[str]
    labels: dict[str, np.ndarray]
    listed: bool  # whether the classes are those of a class list


def class_names(datasets: Mapping[str, Any], label_key: Key) -> list[str] | None:
    """Returns the class names that all splits name, position = label; None if no split names any.

    They are the ``names`` of a Hugging Face ``ClassLabel``, or ``classes`` of the dataset or of the dataset in a ``Subset``.

    Raises:
        UsageError: two splits name other classes.
    """
    named = {split: names for split, dataset in datasets.items() if (names := _named(dataset, label_key))}
    for split, names in named.items():
        first = next(iter(named))
        if names != named[first]:
            raise UsageError(f"the splits {first} and {split} name other classes: their labels do not mean the same")
    return next(iter(named.values()), None)


def _named(dataset: Any, label_key: Key) -> list[str] | None:
    features = getattr(dataset, "features", None)
    names = getattr(features.get(label_key), "names", None) if isinstance(features, Mapping) else None
    seen: list[Any] = []
    while names is None and dataset is not None and len(seen) < 100:  # Subset(Subset(...))
        seen.append(dataset)
        names, dataset = getattr(dataset, "classes", None), getattr(dataset, "dataset", None)
    if not isinstance(names, list | tuple) or not names:
        return None
    words = [
        ", ".join(name) if isinstance(name, tuple) and all(isinstance(w, str) for w in name) else name for name in names
    ]
    return of_names(words, "").names if all(isinstance(word, str) for word in words) else None


def class_list_of(classes: Any) -> ClassList | None:
    """Returns the class list that a user gives: names, a file, or ``imagenet``. Raises UsageError, PipelineError."""
    if classes is None:
        return None
    if isinstance(classes, str | Path):
        return read_class_list(Path(classes))
    if isinstance(classes, Sequence) and classes and all(isinstance(name, str) and name.strip() for name in classes):
        return of_names(list(classes), "classes")
    raise UsageError("classes: it is neither a list of names, nor a file of names, nor imagenet")


def label(raw: Mapping[str, list[int | str | None]], own: list[str] | None, listed: ClassList | None) -> Labelled:
    """Returns the classes and labels of a dataset.

    Args:
        raw: by split, the label of each item: a number, the name of a class, or None for an item that cannot be read.
        own: the class names of the dataset, by number.
        listed: the class list of the user, which gives the labels. Classes are found in it by name, if they have names.

    Raises:
        UsageError: labels are numbers and names, or a number has no name.
        PipelineError: the list lacks a class.
    """
    texts = {label for labels in raw.values() for label in labels if isinstance(label, str)}
    numbers = {label for labels in raw.values() for label in labels if isinstance(label, int)}
    if texts and numbers:
        raise UsageError(f"labels are numbers ({min(numbers)}) and names ({one_line(min(texts))}): give one kind")
    if texts:
        own = own or (None if listed else sorted(texts))
        by_name = listed.labels(sorted(texts), "the dataset") if listed else _places(own or [], texts)
        return _labelled(raw, by_name, listed.names if listed else own or [], listed)
    largest = max(numbers, default=0)
    names = own or (listed.names if listed else None)
    if largest >= (len(names) if names else MOST_UNNAMED):
        allowed = f"names {len(names):,} classes" if names else "does not name its classes: give classes="
        where = "classes=" if names and not own else "the dataset"
        raise UsageError(f"a label is {largest:,}, and {where} {allowed}")
    if own and listed:
        used = sorted(numbers)
        labels = listed.labels([own[number] for number in used], "the dataset")
        return _labelled(raw, dict(zip(used, labels.values(), strict=True)), listed.names, listed)
    names = names or [str(number) for number in range(largest + 1)]
    return _labelled(raw, {number: number for number in numbers}, names, listed)


def _places(names: list[str], used: Iterable[str]) -> dict[str, int]:
    places = {name: place for place, name in enumerate(names)}
    for name in used:
        if name not in places:
            raise UsageError(f"a label is {one_line(name)}, which is none of the {len(names):,} classes of the dataset")
    return places


def _labelled(
    raw: Mapping[str, list[int | str | None]], labels: Mapping[Any, int], names: list[str], listed: ClassList | None
) -> Labelled:
    arrays = {
        split: np.array([labels.get(label, 0) for label in of_split], np.int32) for split, of_split in raw.items()
    }
    return Labelled(names, arrays, listed is not None)
