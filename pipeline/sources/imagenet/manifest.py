"""What ``manifests/imagenet.json`` says, as types."""

from dataclasses import dataclass

from pipeline.sources import manifests

DATASET = "imagenet"


@dataclass(frozen=True)
class Archive:
    """An official archive: its file name, MD5, and size in bytes where that is known."""

    file: str
    md5: str
    bytes: int | None = None


@dataclass(frozen=True)
class ImagenetManifest:
    """The classification set of ILSVRC 2012.

    Attributes:
        images: in the complete set, by split.
        archives: ``train``, ``val`` and ``devkit``.
        synsets: words by WordNet id, in the official order (which is bytewise): position = official label.
    """

    title: str
    terms: str
    images: dict[str, int]
    archives: dict[str, Archive]
    synsets: dict[str, str]


def load() -> ImagenetManifest:
    """The manifest. Raises PipelineError where it is missing."""
    known = manifests.load(DATASET)
    return ImagenetManifest(
        title=known["title"],
        terms=known["terms"],
        images=known["splits"],
        archives={name: Archive(**archive) for name, archive in known["archives"].items()},
        synsets=known["synsets"],
    )
