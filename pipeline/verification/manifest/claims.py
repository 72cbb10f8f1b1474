"""The claims of a manifest about its output: variants, splits, shards and files."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.numerics.geometry import Geometry

NAME = "manifest.json"
REJECTS = "rejects.jsonl"
SPECTRA = "spectra.zarr"
FACTORS = "factors.zarr"
OFFSET = 128
# The relative error of rounding an entry of the factors to their type; that of float32 is negligible.
FACTORS_ROUNDING = {"float32": 0.0, "float16": 2.0**-11}
MAX_PIXELS = 1 << 26  # of an image: limits the memory that a hostile output can take


class FileClaim(NamedTuple):
    """The size and the SHA-256 of one file."""

    size: int
    sha256: str


class Variant(NamedTuple):
    """One cut of all images.

    Attributes:
        rank: the upper rank; 0 where there is none.
        form: of the images, ``png`` or ``npy`` (float32).
        above: the lower rank of a ``band``.
        radius: of ``lowpass`` and ``highpass``.
    """

    name: str
    component: str
    rank: int
    folder: str
    form: str = "png"
    above: int = 0
    radius: int = 0

    @property
    def signed(self) -> bool:
        """Whether its PNG images are differences, stored with the offset."""
        return self.component in ("high", "band", "highpass")


class Factors(NamedTuple):
    """The stored singular triplets: up to which rank, and as ``float32`` or ``float16``."""

    rank: int
    dtype: str


class Split(NamedTuple):
    """The counts of one split."""

    entries: int
    samples: int
    rejects: int


class ShardSet(NamedTuple):
    """One shard in all variants: output positions ``start`` to ``stop``; by variant name, its tar, samples and pixel digest.

    Outputs of format 1 have no digests.
    """

    split: str
    number: int
    start: int
    stop: int
    tars: dict[str, str]
    samples: dict[str, int]
    digests: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """All claims.

    Attributes:
        root: the output's folder.
        shape: (height, width) of every image, pixels; None where they differ.
        side: the largest smaller side of an image, pixels.
        geometry: how the source's images were resized and cropped.
        classes: how many classes there are.
    """

    root: Path
    name: str
    dataset: str
    fingerprint: str
    shape: tuple[int, int] | None
    side: int
    geometry: Geometry
    classes: int
    order: str
    seed: int
    samples_per_shard: int
    splits: dict[str, Split]
    variants: tuple[Variant, ...]
    shards: tuple[ShardSet, ...]
    files: dict[str, FileClaim]
    factors: Factors | None

    @property
    def full(self) -> Variant | None:
        """The variant of the original images."""
        return next((variant for variant in self.variants if variant.component == "full"), None)

    @property
    def has_digests(self) -> bool:
        """Whether its shards have pixel digests; outputs of format 1 have none."""
        return bool(self.shards and self.shards[0].digests)

    def pairs(self, form: str = "png") -> list[tuple[Variant, Variant]]:
        """Returns the pairs of variants that add up to the image: ``low`` and ``high`` of a rank, ``lowpass`` and
        ``highpass`` of a radius."""
        variants = {(v.component, v.rank, v.radius): v for v in self.variants if v.form == form}
        others = {"low": "high", "lowpass": "highpass"}
        keys = [(key, (others[key[0]], *key[1:])) for key in variants if key[0] in others]
        return [(variants[low], variants[high]) for low, high in keys if high in variants]

    def bands(self) -> list[tuple[Variant, Variant, Variant]]:
        """Returns each band of PNG images with the two variants whose difference it is: ``low`` at its upper and lower
        rank, or else ``high`` at its lower and upper rank."""
        variants = {(v.component, v.rank): v for v in self.variants if v.form == "png"}
        bands = []
        for band in (v for v in self.variants if v.component == "band" and v.form == "png"):
            for more, less in ((("low", band.rank), ("low", band.above)), (("high", band.above), ("high", band.rank))):
                if more in variants and less in variants:
                    bands.append((band, variants[more], variants[less]))
                    break
        return bands


def samples_file(split: str) -> str:
    """Returns the file that lists the keys and labels of a split."""
    return f"samples/{split}.jsonl"


def index_file(tar: str) -> str:
    """Returns the DALI index of a tar."""
    return tar.removesuffix(".tar") + ".idx"
