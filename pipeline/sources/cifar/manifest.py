"""The content of ``manifests/cifar10.json`` and ``cifar100.json``, as types."""

from dataclasses import dataclass
from typing import Any

from pipeline.sources import manifests

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """An official archive: its file name, URL, size in bytes and MD5."""

    file: str
    url: str
    bytes: int
    md5: str


@dataclass(frozen=True)
class BatchFile:
    """One file of a layout.

    Attributes:
        batch: its name in every layout.
        bytes: None for a pickle, of which only the MD5 is known.
    """

    file: str
    batch: str
    split: str
    images: int
    bytes: int | None
    md5: str

    @property
    def largest(self) -> int:
        """The largest size in bytes that the file can have: a pickle holds file names and labels beside its pixels."""
        return self.bytes if self.bytes is not None else 2 * self.images * PIXELS


@dataclass(frozen=True)
class Layout:
    """One of the two forms in which the authors publish the dataset.

    Attributes:
        folder: the name of its folder, also in the archive.
        label_bytes: in the binary layout, the number of bytes before the pixels. The last of them is the label. Else 0.
        label_key: in the pickle layout, the key of the labels. Else empty.
    """

    name: str
    folder: str
    archive: Archive
    files: tuple[BatchFile, ...]
    label_bytes: int = 0
    label_key: str = ""


@dataclass(frozen=True)
class CifarManifest:
    """One dataset. ``layouts`` are in the order of preference, the binary one first."""

    dataset: str
    title: str
    terms: str
    classes: tuple[str, ...]
    layouts: tuple[Layout, ...]

    def layout(self, name: str) -> Layout:
        return next(layout for layout in self.layouts if layout.name == name)


def load(dataset: str) -> CifarManifest:
    """Returns the manifest of ``cifar10`` or ``cifar100``. Raises PipelineError if it is missing."""
    document = manifests.load(dataset)
    return CifarManifest(
        dataset=dataset,
        title=document["title"],
        terms=document["terms"],
        classes=tuple(document["classes"]),
        layouts=tuple(_layout(name, document["layouts"][name]) for name in ("binary", "python")),
    )


def _layout(name: str, document: dict[str, Any]) -> Layout:
    return Layout(
        name=name,
        folder=document["folder"],
        archive=Archive(**document["archive"]),
        files=tuple(BatchFile(**file) for file in document["files"]),
        label_bytes=document.get("label_bytes", 0),
        label_key=document.get("label_key", ""),
    )
