"""Reads the training and test images of one variant of an output."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.data import RankDataset, RankView, open_output
from pipeline.data.output import NAME
from pipeline.errors import UsageError, nearest, one_line
from pipeline.numerics.variants import OFFSET, Variant
from pipeline.study.images import Images, from_output
from pipeline.study.networks.cifar import Triple
from pipeline.study.training.batches import Samples
from pipeline.study.training.streamed import Stream, Streamed, streamed

STAND_IN = "stand-in, not comparable with the paper: the source's files are not the official ones"


@dataclass(frozen=True)
class Selection:
    """A selection of an output's images. The field names are keys of ``results.json``.

    Attributes:
        root: folder of the output.
        train, test: names of the splits.
        train_keys, test_keys: files with the keys to select, one per line; None for all images.
    """

    root: Path
    train: str = "train"
    test: str = "test"
    train_keys: Path | None = None
    test_keys: Path | None = None


@dataclass(frozen=True)
class VariantImages:
    """The images of one variant.

    Attributes:
        variant: name of the variant.
        signed: whether pixels are differences of images, such as high-rank-only ones, in which grey level 128 means 0.
        classes: number of classes.
        train, test: the images as stored.
    """

    variant: str
    signed: bool
    classes: int
    train: Samples | Streamed
    test: Samples | Streamed

    @property
    def fill(self) -> int:
        """The grey level that means 0: 128 for signed images, 0 (black) for others."""
        return OFFSET if self.signed else 0


def without_offset(samples: Samples | Streamed) -> Samples | Streamed:
    """Returns high-rank-only images as signed residuals around 0: the input of the negative control."""
    return samples.signed(OFFSET)


def read_variant(selection: Selection, variant: str, stream: Stream | None = None) -> VariantImages:
    """Returns the images of a variant. A variant that is not stored is cut from ``full``, to the same bytes.

    Args:
        stream: how to read images when they are needed; None reads all of them into memory.

    Raises:
        UsageError: the output has no such variant or split, or a file of keys names unknown keys.
        PipelineError: the output is unfinished, missing or damaged.
    """
    splits = ((selection.train, selection.train_keys), (selection.test, selection.test_keys))
    train: Samples | Streamed
    test: Samples | Streamed
    if stream:
        train, test = (_streamed(selection.root, variant, *split, stream) for split in splits)
    else:
        train, test = (_samples(selection.root, variant, *split) for split in splits)
    output = open_output(selection.root)
    if _is_read_as_stored(selection.root, variant):
        part = output.part(variant, selection.test)
        name, signed = part.variant, part.signed
    else:
        name, signed = variant, Variant.parse(variant).signed
    return VariantImages(name, signed, len(output.classes), train, test)


def moments(samples: Samples | Streamed) -> tuple[Triple, Triple]:
    """Returns mean and standard deviation of each channel, in units of the image in [0, 1]."""
    pixels = samples.sample()
    levels = np.arange(256) / 255
    counts = [np.bincount(pixels[..., channel].flatten().numpy(), minlength=256) for channel in range(3)]
    means = [float(count @ levels / count.sum()) for count in counts]
    squares = [float(count @ levels**2 / count.sum()) for count in counts]
    deviations = [float(np.sqrt(square - mean**2)) for square, mean in zip(squares, means, strict=True)]
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def stand_in_warning(selection: Selection) -> str:
    """Returns the warning for tables and figures if the source's files are not the official ones, else an empty string."""
    source = json.loads((selection.root / NAME).read_bytes()).get("source")
    return STAND_IN if isinstance(source, dict) and source.get("checksums_verified") is False else ""


def _samples(root: Path, variant: str, split: str, keys: Path | None) -> Samples:
    stored = _is_read_as_stored(root, variant)
    images = from_output(root, split, variant=variant) if stored else _cut(root, variant, split)
    if keys is not None:
        images = images.at(_positions(images.keys, keys))
    return Samples(torch.from_numpy(np.ascontiguousarray(images.pixels)), torch.from_numpy(images.labels))


def _streamed(root: Path, variant: str, split: str, keys: Path | None, stream: Stream) -> Streamed:
    stored = _is_read_as_stored(root, variant)
    shards = RankDataset(root, variant if stored else "full", split)
    source = shards if stored else _view(root, variant, split)
    rows = np.arange(len(shards)) if keys is None else _positions([key for key, _ in shards.samples], keys)
    return streamed(source, rows, shards, stream, shards.part.shape)


def _is_read_as_stored(root: Path, variant: str) -> bool:
    """Returns False if the variant must be cut from ``full``.

    True for unknown names as well: reading them raises the error that lists the variants of the output.
    """
    output = open_output(root)
    try:
        parsed = Variant.parse(variant)
    except ValueError:
        return True
    cuttable = parsed.component in ("low", "high") and not parsed.exact
    return variant in output.variants or "full" not in output.variants or not cuttable


def _cut(root: Path, variant: str, split: str) -> Images:
    view = _view(root, variant, split)
    pixels = np.stack([np.asarray(image) for image, _ in (view[i] for i in range(len(view)))])
    keys = [key for key, _ in view.samples]
    return Images(pixels, np.array(view.targets, np.int64), keys, view.classes, f"{root}, {variant}, {split}")


def _view(root: Path, variant: str, split: str) -> RankView:
    parsed = Variant.parse(variant)
    return RankView(root, parsed.rank, parsed.component, split, factors=False)


def _positions(keys: Sequence[str], file: Path) -> np.ndarray:
    """Returns the positions in ``keys`` of the keys that a file lists, int (m,)."""
    listed = list(dict.fromkeys(file.read_text(errors="replace").split()))
    if not listed:
        raise UsageError(f"{file} lists no keys: give one per line, such as {keys[0]}")
    position = {key: i for i, key in enumerate(keys)}
    unknown = [key for key in listed if key not in position]
    if unknown:
        first = one_line(unknown[0][:60])
        raise UsageError(
            f"{file}: {len(unknown):,} of {len(listed):,} keys are not in this split, such as {first!r}"
            f"{nearest(first, keys[:1000])}; the first key of the split is {keys[0]}"
        )
    return np.array([position[key] for key in listed])
