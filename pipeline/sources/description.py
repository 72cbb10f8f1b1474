"""Describes in a few lines how a source was understood, for the user to check before work starts."""

from collections.abc import Sequence

from pipeline.errors import one_line
from pipeline.sources.class_list import images_per_class
from pipeline.sources.index import SourceIndex


def describe(index: SourceIndex) -> list[str]:
    """Returns lines for people: the splits with their images, the classes, and how unusual names were understood."""
    splits = ", ".join(
        f"{split} {len(entries):,} image{'s' * (len(entries) != 1)}" for split, entries in index.splits.items()
    )
    first, last = index.classes[0], index.classes[-1]
    count = len(index.classes)
    named = f"{one_line(first)} (0)" + (f" to {one_line(last)} ({count - 1})" if count > 1 else "")
    lines = [f"source: {splits}; {count:,} class{'es' * (count != 1)}, {named}"]
    if used := images_per_class((entries.labels for entries in index.splits.values()), count):
        lines.append(f"labels: {used}")
    if order := _sorted_as_text(index.classes):
        lines.append(order)
    if index.readings:
        lines.append(f"understood: {'; '.join(map(one_line, index.readings))}")
    return lines


def _sorted_as_text(classes: Sequence[str]) -> str:
    """Returns a line if all classes are numbers in the order of their text: 0, 1, 10, 2. timm sorts them as numbers."""
    if not all(name.isascii() and name.isdigit() and len(name) < 10 for name in classes):
        return ""
    for label, (name, number) in enumerate(zip(classes, sorted(map(int, classes)), strict=True)):
        if int(name) != number:
            return (
                f"labels: class {name} has the label {label}: names are sorted as text, as torchvision's ImageFolder does. "
                f"With leading zeros, the order would be that of the numbers; --classes FILE takes any other order"
            )
    return ""


def describe_left_out(index: SourceIndex) -> list[str]:
    """Returns one line that says what is not read and why, or no line."""
    reasons = "; ".join(one_line(reason.replace(", left out: ", ": ")) for reason in index.left_out)
    return [f"left out: {reasons}"] if reasons else []
