"""The source of labelled 32-pixel crops of photographs that come with scikit-image.

Without scikit-image, they are downloaded from the place from which scikit-image's own registry takes them.
"""

import hashlib
import importlib.util
import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources import manifests
from pipeline.sources.cache import cache_folder
from pipeline.sources.download import Download, Report, fetch, stderr_report
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex

SIDE = 32
BYTES = 3 * SIDE * SIDE


class Photograph(NamedTuple):
    """One class. ``size`` is (height, width) of the file, ``reduce`` the factor by which it is reduced before the crops."""

    label: int
    file: str
    size: tuple[int, int]
    reduce: int
    bytes: int
    sha256: str

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of whole crops. The rest at the right and lower edge is not used."""
        height, width = (-(-side // self.reduce) for side in self.size)  # Image.reduce rounds up
        return height // SIDE, width // SIDE


@dataclass(frozen=True)
class Sample:
    """The label of a crop is the photograph it was cut from. The right quarter of each photograph is the test split.

    Crops do not overlap. Crops of the photographs alternate, in proportion to their number, so that every shard and
    every ``--limit`` mixes the classes. An entry's ``offset`` is the number of its crop, row by row.
    """

    default_order = "source"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Checks the photographs and lists their crops. Raises PipelineError if one is another, or cannot be downloaded."""
        manifest = manifests.load("sample")
        classes = [photo["class"] for photo in manifest["photographs"]]
        photographs = _photographs()
        for file in photographs:
            _checked(file)
        return SourceIndex(
            classes=classes,
            splits={split: _split_index(split, photographs, classes) for split in ("train", "test")},
            shape=(SIDE, SIDE),
            title=manifest["title"],
            terms=manifest["terms"],
            note=manifest["note"],
            checksums={file: photo.sha256 for file, photo in photographs.items()},
            verified=True,
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns 3,072 bytes, red, green and blue planes, or the first of them. Raises as ``index``."""
        _, columns = _photographs()[entry.file].grid
        row, column = divmod(entry.offset, columns)
        crop = _pixels(entry.file)[:, SIDE * row : SIDE * (row + 1), SIDE * column : SIDE * (column + 1)]
        return crop.tobytes()[:most]

    def decode(self, raw: bytes) -> Picture:
        """Returns 32 x 32 pixels, a read-only view of ``raw``."""
        return Picture(np.frombuffer(raw, np.uint8).reshape(3, SIDE, SIDE))


@cache
def _photographs() -> dict[str, Photograph]:
    photographs = manifests.load("sample")["photographs"]
    return {
        photo["file"]: Photograph(
            label, photo["file"], tuple(photo["size"]), photo["reduce"], photo["bytes"], photo["sha256"]
        )
        for label, photo in enumerate(photographs)
    }


def open_sample(download: bool | Report) -> Sample:
    """Returns the source. Its photographs are downloaded into the cache unless scikit-image or the cache has them.

    Args:
        download: as in ``open_source``.

    Raises:
        PipelineError: they are not here, and may or can not be downloaded.
    """
    absent = [photo for photo in _photographs().values() if not _place(photo.file).is_file()]
    total = sum(photo.bytes for photo in absent)
    if absent and not download:
        raise PipelineError(
            f"the photographs of the sample dataset are not here, and --dry-run downloads nothing: build, which fetches "
            f"{total / 1e6:.0f} MB once, or pip install 'rank-shards[sample]'"
        )
    report = download if callable(download) else stderr_report("photographs of the sample dataset")
    received = 0
    for photo in absent:
        _fetch(photo, lambda now, _, before=received: report(before + now, total))  # type: ignore[misc]
        received += photo.bytes
    return Sample()


def _place(file: str) -> Path:
    """Returns the path of a photograph: in scikit-image if it is installed and has it, else in the cache."""
    spec = importlib.util.find_spec("skimage")  # finds the folder without importing it
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "data" / file
        if path.is_file():
            return path
    return cache_folder("sample") / file


def _fetch(photo: Photograph, report: Report) -> None:
    """Downloads a photograph into the cache. Raises PipelineError."""
    url = manifests.load("sample")["url"] + photo.file
    advice = "pip install 'rank-shards[sample]', which brings it"
    fetch(Download(url, photo.bytes, photo.sha256, "sha256", advice), cache_folder("sample") / photo.file, report)


def _checked(file: str) -> bytes:
    """Returns a photograph's file. Raises PipelineError if it is not the one in the manifest.

    A node of a cluster that lacks it downloads it here.
    """
    photo, path = _photographs()[file], _place(file)
    cached = path.parent == cache_folder("sample")
    try:
        if cached and not path.exists():
            _fetch(photo, lambda *_: None)
        content = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error.strerror}): {_advice(cached)}") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != photo.sha256:
        raise PipelineError(f"{path} has SHA-256 {actual}, expected {photo.sha256}: {_advice(cached)}")
    return content


def _advice(cached: bool) -> str:
    manifest = manifests.load("sample")
    if cached:
        return "delete it, and it is downloaded again"
    return f"install {manifest['package']}=={manifest['version']}, which brings the photographs"


@cache
def _pixels(file: str) -> np.ndarray:
    """Returns a photograph, uint8 (3, h, w), reduced by box averages. Kept per process: about 6 MB for all eight."""
    photo = _photographs()[file]
    with Image.open(io.BytesIO(_checked(file)), formats=["PNG", "JPEG"]) as image:
        pixels = np.asarray(image.convert("RGB").reduce(photo.reduce))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _split_index(split: str, photographs: dict[str, Photograph], classes: list[str]) -> SplitIndex:
    crops_of = [_crops(photo, split) for photo in photographs.values()]
    common = math.lcm(*map(len, crops_of))  # whole numbers sort faster than the fractions (2 i + 1) / number of crops
    turns = []
    for number, (photo, crops) in enumerate(zip(photographs.values(), crops_of, strict=True)):
        turns += [((2 * i + 1) * (common // len(crops)), number, photo, crop) for i, crop in enumerate(crops)]
    turns.sort(key=lambda turn: turn[:2])
    return SplitIndex(
        names=[f"{classes[photo.label]}/{crop:04d}" for _, _, photo, crop in turns],
        labels=np.array([photo.label for _, _, photo, _ in turns], np.int32),
        files=list(photographs),
        file_ids=np.array([number for _, number, _, _ in turns], np.int32),
        offsets=np.array([crop for _, _, _, crop in turns], np.int64),
        sizes=np.full(len(turns), BYTES, np.int64),
    )


def _crops(photo: Photograph, split: str) -> list[int]:
    """Returns the numbers of a photograph's crops in a split, row by row."""
    rows, columns = photo.grid
    first_test = columns - columns // 4
    return [n for n in range(rows * columns) if (n % columns >= first_test) == (split == "test")]
