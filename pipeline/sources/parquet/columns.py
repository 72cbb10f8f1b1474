"""Chooses the columns of images and labels in a Parquet file."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError, nearest
from pipeline.sources.class_list import MOST_UNNAMED
from pipeline.sources.parquet.footer import Column, Footer

_IMAGES = ("image", "img", "jpg", "png", "bytes")  # usual names, for the choice among several columns
_LABELS = ("label", "labels", "cls", "class", "target", "fine_label")
_KINDS = {"text": "names", "number": "numbers"}
_LONGEST = 10  # columns in a message
_HOLDS = {"image": "the bytes of image files", "label": "whole numbers or names"}


@dataclass(frozen=True)
class Choice:
    """The columns of a file.

    Attributes:
        image: the leaf column of the images' bytes.
        label: the column of the labels.
        kind: ``names`` or ``numbers``.
        classes: class names in the order of the labels, from the ``huggingface`` metadata. None: there are none.
    """

    image: Column
    label: Column
    kind: str
    classes: tuple[str, ...] | None

    def describe(self) -> str:
        """Returns the choice in words, for the comparison of files."""
        named = "" if self.classes is None else f" with {len(self.classes)} class names"
        return f"images in {'.'.join(self.image.path)}, labels in {self.label.path[0]} ({self.kind}{named})"


def choose(footer: Footer, image_key: str | None, label_key: str | None) -> Choice:
    """Returns the columns of images and labels.

    Args:
        image_key, label_key: their names. None: the only column that fits, by the ``huggingface`` metadata or by its type;
            among several, the only one with a usual name.

    Raises:
        PipelineError: no column fits, or several do.
    """
    features = footer.features()
    images = _image_columns(footer)
    labels = _label_columns(footer)
    of_type = {
        kind: [name for name in features if _type_of(features, name) == kind] for kind in ("Image", "ClassLabel")
    }
    image = _chosen(footer, "image", image_key, images, of_type["Image"], _IMAGES)
    label = _chosen(
        footer, "label", label_key, [name for name in labels if name != image], of_type["ClassLabel"], _LABELS
    )
    kind = _KINDS[labels[label].kind]
    return Choice(images[image], labels[label], kind, _class_names(footer.path, features, label))


def _image_columns(footer: Footer) -> dict[str, Column]:
    """Returns the leaf columns that can hold the bytes of images, by the name of the column that they belong to."""
    return {
        column.path[0]: column
        for column in footer.columns
        if column.kind == "bytes" and not column.repeated and column.path[1:] in ((), ("bytes",))
    }


def _label_columns(footer: Footer) -> dict[str, Column]:
    """Returns the columns that can hold labels, by name."""
    return {
        column.path[0]: column
        for column in footer.columns
        if column.kind in _KINDS and not column.repeated and len(column.path) == 1
    }


def _type_of(features: dict[str, Any], name: str) -> str:
    feature = features[name]
    return str(feature.get("_type")) if isinstance(feature, dict) else ""


def _chosen(
    footer: Footer,
    what: str,
    key: str | None,
    fitting: Collection[str],
    declared: Sequence[str],
    usual: Sequence[str],
) -> str:
    """Returns the name of the column of images or labels. Raises PipelineError.

    Args:
        what: ``image`` or ``label``.
        key: the name that the user gave.
        fitting: names of the columns whose types fit.
        declared: names of the columns that the metadata declare as such.
        usual: names that such columns usually have, the likeliest first.
    """
    every = footer.names
    path, listed = footer.path, _listed(every)
    if key is not None:
        if key not in every:
            raise PipelineError(f"{path} has no column {key!r} (--{what}-key){nearest(key, every)}; it has {listed}")
        if key not in fitting:
            kind = _kind_of(footer, key)
            raise PipelineError(f"{path}: the column {key!r} (--{what}-key) holds {kind}, not {_HOLDS[what]}")
        return key
    for candidates in ([name for name in declared if name in fitting], list(fitting)):
        if len(candidates) == 1:
            return candidates[0]
        named = [name for name in usual if name in candidates]
        if len(named) == 1:
            return named[0]
        if len(candidates) > 1:
            raise PipelineError(
                f"{path} has several columns that can be the {what}, {_listed(candidates)}: name one with --{what}-key"
            )
    listed = _listed(every, lambda name: f" ({_kind_of(footer, name)})")
    raise PipelineError(f"{path} has no column of {_HOLDS[what]}; it has {listed}")


def _kind_of(footer: Footer, name: str) -> str:
    """Returns in words what a column holds."""
    kinds = [_describe(column) for column in footer.columns if column.path[0] == name]
    return kinds[0] if len(kinds) == 1 else "a structure"


def _describe(column: Column) -> str:
    if column.repeated:
        return "lists"
    return {"text": "texts", "number": "whole numbers", "bytes": "bytes"}.get(column.kind, column.physical)


def _class_names(path: str, features: dict[str, Any], label: str) -> tuple[str, ...] | None:
    """Returns the class names that the metadata give for the label column. Raises PipelineError if they are no names."""
    if label not in features or _type_of(features, label) != "ClassLabel":
        return None
    names = features[label].get("names")
    if names is None:
        return None
    if not isinstance(names, list) or not names or len(names) > MOST_UNNAMED:
        raise PipelineError(f"{path}: the class names of {label!r} in its metadata are damaged")
    if not all(isinstance(name, str) and name.strip() and "\0" not in name for name in names):
        raise PipelineError(f"{path}: the class names of {label!r} in its metadata are not all texts")
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        raise PipelineError(f"{path}: the class names of {label!r} in its metadata are not all texts") from None
    if len(set(names)) < len(names):
        raise PipelineError(f"{path}: the metadata give two labels of {label!r} one class name")
    return tuple(names)


def _listed(names: Collection[str], remark: Callable[[str], str] = lambda name: "") -> str:
    """Returns names for a message, each with a remark. Hostile files can have many and long ones."""
    listed = [repr(name[:60]) + remark(name) for name in list(names)[:_LONGEST]]
    return ", ".join([*listed, "..."] if len(names) > _LONGEST else listed) or "no columns"
