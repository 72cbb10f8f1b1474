"""What a network is trained and tested on: one variant of an output, and the full-rank images beside it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.data import RankView, open_output
from pipeline.data.output import NAME
from pipeline.errors import UsageError, nearest, one_line
from pipeline.numerics.variants import OFFSET, Variant
from pipeline.study.inputs import Images, from_output
from pipeline.study.networks.cifar import Triple
from pipeline.study.training.batches import Samples

STAND_IN = "stand-in, not comparable with the paper: the source's files are not the official ones"


@dataclass(frozen=True)
class Selection:
    """Which images of an output.

    Attributes:
        root: the output.
        train, test: its splits.
        train_keys, test_keys: files that list the keys to take, one a line; None for all.
    """

    root: Path
    train: str = "train"
    test: str = "test"
    train_keys: Path | None = None
    test_keys: Path | None = None


@dataclass(frozen=True)
class Tables:
    """One variant's images of both splits.

    Attributes:
        variant: its name.
        signed: whether it holds differences of images (high-rank-only ones, say), in which grey level 128 stands for 0.
        classes: how many there are.
        train, test: the images as stored.
    """

    variant: str
    signed: bool
    classes: int
    train: Samples
    test: Samples

    @property
    def fill(self) -> int:
        """The grey level that stands for nothing: 128 for signed images, else 0 (black)."""
        return OFFSET if self.signed else 0


def signed(samples: Samples) -> Samples:
    """High-rank-only images without their offset: residuals around 0, the negative control's input."""
    return Samples(samples.pixels, samples.labels, OFFSET)


def read_variant(chosen: Selection, variant: str) -> Tables:
    """Read a variant; one that is not stored is cut from ``full``, into the pixels that it would be stored with.

    Raises:
        UsageError: the output has no such variant or split, or a file of keys names other keys.
        PipelineError: there is no finished output, or it is damaged.
    """
    train = _samples(chosen.root, variant, chosen.train, chosen.train_keys)
    test = _samples(chosen.root, variant, chosen.test, chosen.test_keys)
    output = open_output(chosen.root)
    if _stored(chosen.root, variant):
        part = output.part(variant, chosen.test)
        name, is_signed = part.variant, part.signed
    else:
        name, is_signed = variant, Variant.parse(variant).signed
    return Tables(name, is_signed, len(output.classes), train, test)


def moments(samples: Samples) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel, in units of the image in [0, 1]."""
    levels = np.arange(256) / 255
    counts = [np.bincount(samples.pixels[..., channel].flatten().numpy(), minlength=256) for channel in range(3)]
    means = [float(count @ levels / count.sum()) for count in counts]
    squares = [float(count @ levels**2 / count.sum()) for count in counts]
    deviations = [float(np.sqrt(square - mean**2)) for square, mean in zip(squares, means, strict=True)]
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def note(chosen: Selection) -> str:
    """What a reader must know of figures from this output; empty where there is nothing."""
    source = json.loads((chosen.root / NAME).read_bytes()).get("source")
    return STAND_IN if isinstance(source, dict) and source.get("checksums_verified") is False else ""


def _samples(root: Path, variant: str, split: str, keys: Path | None) -> Samples:
    found = from_output(root, split, variant=variant) if _stored(root, variant) else _cut(root, variant, split)
    chosen = found if keys is None else found.at(_places(found.keys, keys))
    return Samples(torch.from_numpy(np.ascontiguousarray(chosen.pixels)), torch.from_numpy(chosen.labels))


def _stored(root: Path, variant: str) -> bool:
    """Whether to read it as it is: also where that ends in the line that names the variants that there are."""
    output = open_output(root)
    try:
        cut = Variant.parse(variant)
    except ValueError:
        return True
    cuttable = cut.component in ("low", "high") and not cut.exact
    return variant in output.variants or "full" not in output.variants or not cuttable


def _cut(root: Path, variant: str, split: str) -> Images:
    cut = Variant.parse(variant)
    view = RankView(root, cut.rank, cut.component, split, factors=False)
    pixels = np.stack([np.asarray(image) for image, _ in (view[at] for at in range(len(view)))])
    keys = [key for key, _ in view.samples]
    return Images(pixels, np.array(view.targets, np.int64), keys, view.classes, f"{root}, {variant}, {split}")


def _places(keys: Sequence[str], file: Path) -> np.ndarray:
    """Where the keys that a file lists are among ``keys``."""
    wanted = list(dict.fromkeys(file.read_text(errors="replace").split()))
    if not wanted:
        raise UsageError(f"{file} lists no keys: it takes one a line, such as {keys[0]}")
    place = {key: at for at, key in enumerate(keys)}
    unknown = [key for key in wanted if key not in place]
    if unknown:
        first = one_line(unknown[0][:60])
        raise UsageError(
            f"{file}: {len(unknown):,} of {len(wanted):,} keys are none of this split's, first {first!r}"
            f"{nearest(first, keys[:1000])}; the split's first is {keys[0]}"
        )
    return np.array([place[key] for key in wanted])
