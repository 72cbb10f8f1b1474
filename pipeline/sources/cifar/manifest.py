"""What ``manifests/cifar10.json`` and ``cifar100.json`` say, as types."""

from dataclasses import dataclass
from typing import Any

from pipeline.sources import manifests

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """An official archive: its file name, where it is offered, and how to know it."""

    file: str
    url: str
    bytes: int
    md5: str


@dataclass(frozen=True)
class BatchFile:
    """One file of a layout. ``batch`` is its name in every layout, ``bytes`` None where only a pickle's MD5 is known."""

    file: str
    batch: str
    split: str
    images: int
    bytes: int | None
    md5: str

    @property
    def largest(self) -> int:
        """Bytes that the file cannot exceed: a pickle holds file names and labels beside its pixels."""
        return self.bytes if self.bytes is not None else 2 * self.images * PIXELS


@dataclass(frozen=True)
class Layout:
    """One of the two forms in which the authors offer the dataset.

    Attributes:
        folder: the name of its folder, in the archive too.
        label_bytes: in the binary layout, the bytes before the pixels, of which the last is the label; else 0.
        label_key: in the pickle layout, the key of the labels; else empty.
    """

    name: str
    folder: str
    archive: Archive
    files: tuple[BatchFile, ...]
    label_bytes: int = 0
    label_key: str = ""


@dataclass(frozen=True)
class CifarManifest:
    """One dataset. ``layouts`` stand in the order of preference, the binary one first."""

    dataset: str
    title: str
    terms: str
    classes: tuple[str, ...]
    layouts: tuple[Layout, ...]

    def layout(self, name: str) -> Layout:
        return next(layout for layout in self.layouts if layout.name == name)


def load(dataset: str) -> CifarManifest:
    """The manifest of ``cifar10`` or ``cifar100``. Raises PipelineError where it is missing."""
    known = manifests.load(dataset)
    return CifarManifest(
        dataset=dataset,
        title=known["title"],
        terms=known["terms"],
        classes=tuple(known["classes"]),
        layouts=tuple(_layout(name, known["layouts"][name]) for name in ("binary", "python")),
    )


def _layout(name: str, known: dict[str, Any]) -> Layout:
    return Layout(
        name=name,
        folder=known["folder"],
        archive=Archive(**known["archive"]),
        files=tuple(BatchFile(**file) for file in known["files"]),
        label_bytes=known.get("label_bytes", 0),
        label_key=known.get("label_key", ""),
    )
