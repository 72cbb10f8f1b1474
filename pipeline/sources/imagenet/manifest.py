"""The content of ``manifests/imagenet.json``, as types."""

from dataclasses import dataclass

from pipeline.sources import manifests

DATASET = "imagenet"


@dataclass(frozen=True)
class Archive:
    """An official archive: its file name, its MD5, and its size in bytes, None if unknown."""

    file: str
    md5: str
    bytes: int | None = None


@dataclass(frozen=True)
class ImagenetManifest:
    """The classification set of ILSVRC 2012.

    Attributes:
        images: their number in the complete set, by split.
        archives: ``train``, ``val`` and ``devkit``.
        synsets: words by WordNet id, in the official order (which is bytewise): position = official label.
    """

    title: str
    terms: str
    images: dict[str, int]
    archives: dict[str, Archive]
    synsets: dict[str, str]


def load() -> ImagenetManifest:
    """Returns the manifest. Raises PipelineError if it is missing."""
    document = manifests.load(DATASET)
    return ImagenetManifest(
        title=document["title"],
        terms=document["terms"],
        images=document["splits"],
        archives={name: Archive(**archive) for name, archive in document["archives"].items()},
        synsets=document["synsets"],
    )
