"""Items of datasets: where an item holds its image and its label, and what its label is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipeline.errors import UsageError, nearest, one_line

Key = str | int
_IMAGES = ("image", "img", "picture", "pixel_values")  # keys of items that have several images or labels
_LABELS = ("label", "labels", "target")
_LARGEST_LABEL = 1 << 31


class Keys(NamedTuple):
    """Where items hold their image and their label: keys of a dict, or positions in a tuple."""

    image: Key
    label: Key


def find_keys(dataset: Any, item: Any, image_key: Key | None, label_key: Key | None) -> Keys:
    """Returns the keys of a dataset's items.

    Args:
        item: one item of it.
        image_key, label_key: those that the user names. None: the features of a Hugging Face dataset say them, or the types
            of the values.

    Raises:
        UsageError: items are neither tuples nor dicts, have no such key, or several keys are possible.
    """
    if isinstance(item, Mapping):
        features = getattr(dataset, "features", None)
        kinds = {key: type(kind).__name__ for key, kind in features.items()} if isinstance(features, Mapping) else {}
        images = [key for key in item if kinds.get(key) == "Image"] or [key for key in item if _is_image(item[key])]
        labels = [key for key in item if kinds.get(key) == "ClassLabel"] or [
            key for key in item if _is_label(item[key])
        ]
        return Keys(
            _choose("image_key", image_key, images, list(item), _IMAGES),
            _choose("label_key", label_key, labels, list(item), _LABELS),
        )
    if isinstance(item, tuple | list):
        if len(item) == 2 or (image_key is not None and label_key is not None):
            places = list(range(len(item)))
            return Keys(
                _choose("image_key", image_key, [0], places, ()), _choose("label_key", label_key, [1], places, ())
            )
        raise UsageError(
            f"items of the dataset are tuples of {len(item)}: say where the image and the label are, with image_key=0 and "
            "label_key=1"
        )
    raise UsageError(f"items of the dataset are of type {type(item).__name__}: they must be (image, label), or dicts")


def _choose(option: str, named: Key | None, possible: list[Any], keys: list[Any], usual: tuple[str, ...]) -> Key:
    """Returns the key that the user names, or the only possible one. Raises UsageError."""
    listed = ", ".join(one_line(repr(key)) for key in keys[:20])
    if named is not None:
        if named not in keys:
            hint = nearest(str(named), map(str, keys))
            raise UsageError(f"{option}: items of the dataset have no {named!r}{hint}; they have {listed}")
        return named
    chosen = [key for key in usual if key in possible][:1] or possible
    if len(chosen) != 1:
        why = f"may be {' or '.join(map(repr, chosen[:5]))}" if chosen else "is none that is recognised"
        raise UsageError(f"{option}: it {why}; say which of the item's keys it is: {listed}")
    return chosen[0]


def _is_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes)
    return isinstance(value, Image.Image) or len(getattr(value, "shape", ())) in (2, 3)


def _is_label(value: Any) -> bool:
    if isinstance(value, bool | np.bool_ | float):
        return False
    return isinstance(value, int | np.integer) or (hasattr(value, "__index__") and not getattr(value, "shape", ()))


def part(item: Any, key: Key) -> Any:
    """Returns the image or the label of an item. Raises UsageError if the item has none."""
    try:
        return item[key]
    except (KeyError, IndexError, TypeError):
        raise UsageError(f"has no {key!r}, as other items of the dataset do") from None


def label_of(value: Any) -> int | str:
    """Returns a label: a whole number, or the name of a class. Raises UsageError for anything else."""
    if isinstance(value, str):
        return value
    if getattr(value, "shape", None) == (1,):  # as in MedMNIST
        value = value[0]
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        label = int(value.__index__())
    except (TypeError, AttributeError):
        text = one_line(repr(value))[:60]
        raise UsageError(f"has the label {text}, which is neither a whole number nor the name of a class") from None
    if not 0 <= label < _LARGEST_LABEL:
        raise UsageError(f"has the label {label}: labels are 0, 1, 2, ...; leave out images without a label")
    return label
