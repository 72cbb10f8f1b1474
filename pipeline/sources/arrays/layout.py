"""Finds the splits of a folder or archive of arrays: which array holds images, and which holds their labels."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.arrays.npy import Array
from pipeline.sources.splits import in_order, split_in

SEVERITIES = 5  # of CIFAR-10-C
_IMAGES = ("images", "image", "imgs", "data", "x")
_LABELS = ("labels", "label", "targets", "y")
_CIFAR_10_1 = re.compile(r"cifar10\.1_(v\d)")
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,60}")


class Part(NamedTuple):
    """The arrays of one split.

    Attributes:
        split: its name.
        images: the array of images.
        labels: the array of labels.
        first, rows: the first row, and the number of rows of both arrays that are the split.
        first_label: the row of the first label.
    """

    split: str
    images: Array
    labels: Array
    first: int
    rows: int
    first_label: int


class Layout(NamedTuple):
    """The splits of a source, what is not read, and what was recognised in names, for the user."""

    parts: list[Part]
    left_out: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


class _Roles(NamedTuple):
    """Arrays by the rest of their names: ``train`` for ``train_images`` and ``x_train``."""

    images: dict[str, Array]
    labels: dict[str, Array]
    others: dict[str, Array]


def find_layout(place: str, arrays: Mapping[str, Array]) -> Layout:
    """Returns the splits of some arrays.

    Pairs are ``images`` and ``labels``, ``data`` and ``labels``, or ``x`` and ``y``, with the same words before or after
    them (``train_images``, ``x_test``). The split is in these words. Without any it is ``train``. CIFAR-10.1 has the split
    ``v4`` or ``v6``. ``labels`` without ``images``, and other arrays beside it, are CIFAR-10-C: every array holds five
    severities, each of which is a split (``fog_3``).

    Args:
        place: the folder or archive, for messages.
        arrays: by name, without ``.npy``.

    Raises:
        PipelineError: there is no pair, or it is not clear which arrays belong together.
    """
    roles = _roles(place, arrays)
    if not roles.images and set(roles.labels) == {""} and roles.others:
        return _corruptions(roles)
    for rest, array in roles.images.items():
        if rest not in roles.labels:
            raise PipelineError(f"{array.name} has no labels: an array such as labels.npy is missing beside it")
    if not roles.images:
        listed = ", ".join([*arrays][:5]) or "no arrays"
        raise PipelineError(
            f"{place} holds no images and labels: it should hold images.npy and labels.npy, or train_images and "
            f"train_labels, and it has {listed}"
        )
    parts: dict[str, Part] = {}
    readings = []
    for rest, images in roles.images.items():
        split = _split(place, rest, len(roles.images))
        if split in parts:
            raise PipelineError(f"{place}: {parts[split].images.name} and {images.name} are both the split {split}")
        parts[split] = _pair(split, images, roles.labels[rest])
        if rest and split not in rest:
            readings.append(f"{images.name} is the split {split}")
    unused = [array.name for rest, array in roles.labels.items() if rest not in roles.images]
    left_out = sorted([*unused, *(array.name for array in roles.others.values())])
    note = (
        (f"arrays that are neither images nor their labels, left out: {', '.join(left_out[:5])}",) if left_out else ()
    )
    return Layout([parts[split] for split in in_order(parts)], note, tuple(readings))


def _roles(place: str, arrays: Mapping[str, Array]) -> _Roles:
    roles = _Roles({}, {}, {})
    for name, array in arrays.items():
        words = re.split(r"[-_.]", name.lower())
        role = next((word for word in words if word in _IMAGES + _LABELS), "")
        group = roles.images if role in _IMAGES else roles.labels if role else roles.others
        rest = re.sub(rf"(^|[-_.]){role}(?=[-_.]|$)", "", name.lower(), count=1).strip("-_.") if role else name
        if rest in group:
            raise PipelineError(f"{place}: {group[rest].name} and {array.name} have the same role")
        group[rest] = array
    return roles


def _split(place: str, rest: str, pairs: int) -> str:
    if match := _CIFAR_10_1.fullmatch(rest):
        return match[1]
    split = split_in(rest) if rest else None
    if split is None and pairs > 1:
        raise PipelineError(
            f"{place} has {pairs} pairs of images and labels, and {rest or 'images'!r} does not name a split: call them "
            "train_images and train_labels, test_images and test_labels, ..., or give each pair a folder"
        )
    return split or "train"


def _pair(split: str, images: Array, labels: Array) -> Part:
    count, rows = _length(images), _length(labels)
    if rows != count:
        raise PipelineError(f"{labels.name} has {rows:,} labels for the {count:,} images of {images.name}")
    return Part(split, images, labels, 0, count, 0)


def _corruptions(roles: _Roles) -> Layout:
    labels = roles.labels[""]
    rows, parts = _length(labels), []
    for name, images in sorted(roles.others.items()):
        plain = re.sub(r"[-. ]", "_", name)
        if not _PLAIN.fullmatch(plain):
            raise PipelineError(f"{images.name}: its name cannot be the name of a split (letters, digits and '_')")
        each, rest = divmod(_length(images), SEVERITIES)
        if rest or rows not in (each, SEVERITIES * each):
            raise PipelineError(
                f"{labels.name} has {rows:,} labels for the {_length(images):,} images of {images.name}: it belongs to "
                f"images.npy or, as in CIFAR-10-C, to arrays of {SEVERITIES} severities"
            )
        for severity in range(SEVERITIES):
            first = severity * each
            parts.append(Part(f"{plain}_{severity + 1}", images, labels, first, each, first if rows > each else 0))
    reading = f"each array has {SEVERITIES} severities of {parts[0].rows:,} images, as in CIFAR-10-C"
    return Layout(parts, (), (reading,))


def _length(array: Array) -> int:
    if not array.shape or not array.shape[0]:
        raise PipelineError(f"{array.name} is empty")
    return array.shape[0]


def joined(layouts: Iterable[tuple[str, Layout]]) -> Layout:
    """Returns the splits of several folders, each of which is one split. Raises PipelineError if one holds several."""
    parts: dict[str, Part] = {}
    left_out: list[str] = []
    for split, layout in layouts:
        if len(layout.parts) > 1:
            raise PipelineError(f"{layout.parts[0].images.path.parent} is the split {split}, but holds several itself")
        parts[split] = layout.parts[0]._replace(split=split)
        left_out += layout.left_out
    return Layout([parts[split] for split in in_order(parts)], tuple(left_out))
