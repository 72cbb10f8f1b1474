"""What a manifest claims of an output: variants, splits, shards, files."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.numerics.geometry import Geometry

NAME = "manifest.json"
REJECTS = "rejects.jsonl"
SPECTRA = "spectra.zarr"
FACTORS = "factors.zarr"
OFFSET = 128
# How far rounding to the type of factors moves one of their entries, as a part of itself; none to speak of in float32.
FACTORS_ROUNDING = {"float32": 0.0, "float16": 2.0**-11}
MAX_PIXELS = 1 << 26  # of an image: bounds what a hostile output can make us decode


class FileClaim(NamedTuple):
    """What the manifest says of one file."""

    size: int
    sha256: str


class Variant(NamedTuple):
    """One cut: its component, its rank (0 for none), its folder, the form of its images (``png``, or ``npy`` for float32),
    the rank that a ``band`` lies above, and the radius of ``lowpass`` and ``highpass``."""

    name: str
    component: str
    rank: int
    folder: str
    form: str = "png"
    above: int = 0
    radius: int = 0

    @property
    def signed(self) -> bool:
        """Whether its PNG images are differences, around the offset."""
        return self.component in ("high", "band", "highpass")


class Factors(NamedTuple):
    """The triplets that are kept: up to which rank, and as ``float32`` or ``float16``."""

    rank: int
    dtype: str


class Split(NamedTuple):
    """The counts of one split."""

    entries: int
    samples: int
    rejects: int


class ShardSet(NamedTuple):
    """One shard in all variants: output positions ``start`` to ``stop``; by variant name, its tar and its samples."""

    split: str
    number: int
    start: int
    stop: int
    tars: dict[str, str]
    samples: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """The claims that are proven.

    Attributes:
        root: the output's folder.
        shape: (height, width) of every image, pixels; None where they differ.
        side: the largest smaller side of an image, pixels.
        geometry: what was done to the source's images first.
        classes: how many there are.
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
        """The variant that holds the untouched images."""
        return next((variant for variant in self.variants if variant.component == "full"), None)

    def pairs(self, form: str = "png") -> list[tuple[Variant, Variant]]:
        """The variants that add up to the image: ``low`` and ``high`` of a rank, ``lowpass`` and ``highpass`` of a
        radius."""
        of = {(v.component, v.rank, v.radius): v for v in self.variants if v.form == form}
        others = {"low": "high", "lowpass": "highpass"}
        keys = [(key, (others[key[0]], *key[1:])) for key in of if key[0] in others]
        return [(of[low], of[high]) for low, high in keys if high in of]

    def bands(self) -> list[tuple[Variant, Variant, Variant]]:
        """The bands of PNG images with what they are the difference of: ``low`` at their upper and at their lower end, or
        else ``high`` at their lower and at their upper end."""
        of = {(v.component, v.rank): v for v in self.variants if v.form == "png"}
        found = []
        for band in (v for v in self.variants if v.component == "band" and v.form == "png"):
            for more, less in ((("low", band.rank), ("low", band.above)), (("high", band.above), ("high", band.rank))):
                if more in of and less in of:
                    found.append((band, of[more], of[less]))
                    break
        return found


def samples_file(split: str) -> str:
    """Where the keys and labels of a split are listed."""
    return f"samples/{split}.jsonl"


def index_file(tar: str) -> str:
    """The DALI index beside a tar."""
    return tar.removesuffix(".tar") + ".idx"
