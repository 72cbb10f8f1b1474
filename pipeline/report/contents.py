"""Collects everything that a report shows from an output."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data import RankDataset, open_output
from pipeline.data.output import Output
from pipeline.errors import PipelineError
from pipeline.report import measures, pictures, spectra
from pipeline.report.choice import Chosen, choose, per_class
from pipeline.report.gallery import SMALL, Sheet
from pipeline.report.originals import Originals, originals
from pipeline.report.page.facts import Facts, collect
from pipeline.report.pictures import Ladder
from pipeline.report.plots import dataset
from pipeline.report.plots import spectrum as spectrum_plots
from pipeline.report.plots import variants as variant_plots
from pipeline.report.plots.plot import Plot
from pipeline.report.rank_image import reduced
from pipeline.report.stored import Stored

# Ranks to show if an output has none: those of the paper for CIFAR-10 and for ImageNet.
_RANKS = ((3, 5, 10, 20), (30, 40, 50, 100))
_LADDERS = {True: 10, False: 3}  # images with a slider: of small images, and of large ones


@dataclass(frozen=True)
class Report:
    """The contents of the page and of the files for papers.

    Attributes:
        facts: what the output records about itself.
        split: split that pictures and errors are from.
        shape: (height, width) of every image; None if the images differ in size.
        how: in words, where the original images come from; None if the output does not contain them.
        measured: number of images whose errors were measured.
        spectra: number of images whose singular values were read, and of all images; None without singular values.
        sheet: contact sheet.
        ladders: images with all their ranks.
        figures: the paper's figures, by number.
        plots: by name.
    """

    facts: Facts
    split: str
    shape: tuple[int, int] | None
    how: str | None
    measured: int
    spectra: tuple[int, int] | None
    sheet: Sheet
    ladders: tuple[Ladder, ...]
    figures: dict[int, Sheet]
    plots: dict[str, Plot]


def make(root: Path, split: str | None = None, sample: int | None = None) -> Report:
    """Returns the report of the output in the folder ``root``.

    Args:
        root: folder of the output.
        split: split that pictures and errors are taken from; None for the first split with images.
        sample: number of images to measure PSNR and SSIM on; None for a number that takes a few seconds.

    Raises:
        UsageError: the output has no such split.
        PipelineError: the folder holds no finished output, or the output is damaged or has no variant.
    """
    output = open_output(root)
    if not output.variants:
        raise PipelineError(f"{root} has no variant: there is nothing to show")
    opened = {split: RankDataset(root, output.variants[0], split) for split in output.splits}
    facts = collect(output, {split: data.targets for split, data in opened.items()})
    split = _split(output, facts, split)
    stored = Stored(output, split, {output.variants[0]: opened[split]})
    source = originals(stored, facts.variants)
    measured, errors = 0, dict[str, measures.Measure]()
    if source:
        measured, errors = measures.measure(stored, source, sample or measures.sample_size(output))
    read = spectra.read(output)
    chosen = choose(opened[split], per_class(output.shape))
    ranks = _ranks(facts, output.shape)
    plots = [
        *((spectrum_plots.spectrum(read, facts.ranks), spectrum_plots.energy(read, facts.ranks)) if read else ()),
        *variant_plots.errors(facts.variants, errors),
        variant_plots.clipping(facts.variants),
        dataset.balance(facts.counts, facts.classes),
        dataset.stages(facts.work or ()),
    ]
    return Report(
        facts,
        split,
        output.shape,
        source.how if source else None,
        measured,
        (read.images, read.of) if read else None,
        pictures.contact_sheet(stored, facts.variants, source, chosen, ranks),
        _ladders(stored, facts, source, chosen, ranks),
        _figures(source, chosen, ranks),
        {plot.name: plot for plot in plots if plot},
    )


def _split(output: Output, facts: Facts, requested: str | None) -> str:
    """Returns the requested split, or the first that has images."""
    if requested is not None:
        return output.part(output.variants[0], requested).split
    return next((split for split, counts in facts.counts.items() if counts.sum()), output.splits[0])


def _ranks(facts: Facts, shape: tuple[int, int] | None) -> tuple[int, ...]:
    small = shape is not None and max(shape) <= SMALL
    ranks = facts.ranks or _RANKS[0 if small else 1]
    return tuple(rank for rank in ranks if shape is None or rank < min(shape)) or (1,)


def _one_each(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Returns the first image of each class."""
    return list({image.label: image for image in reversed(chosen)}.values())[::-1]


def _ladders(
    stored: Stored,
    facts: Facts,
    source: Originals | None,
    chosen: Sequence[Chosen],
    ranks: tuple[int, ...],
) -> tuple[Ladder, ...]:
    images = _one_each(chosen)[: _LADDERS[per_class(stored.output.shape) > 1]]
    if source:
        pairs = [(image, _original(source, image)) for image in images]
        return tuple(
            pictures.ladder(image, original, ranks) for image, original in pairs if pictures.has_ranks(original)
        )
    return tuple(pictures.stored_ladder(stored, facts.variants, image) for image in images if facts.ranks)


def _original(source: Originals, image: Chosen) -> np.ndarray:
    """Returns uint8 (h, w, 3), reduced if the image is so large that cutting it at many ranks would take long."""
    return reduced(source.get(image.position).transpose(2, 0, 1)).transpose(1, 2, 0)


def _figures(source: Originals | None, chosen: Sequence[Chosen], ranks: tuple[int, ...]) -> dict[int, Sheet]:
    if not source or not chosen:
        return {}
    pairs = [(image, _original(source, image)) for image in _one_each(chosen)]
    pairs = [(image, original) for image, original in pairs if pictures.has_ranks(original)]
    if not pairs:
        return {}
    # The most colourful image shows best what each channel contributes.
    first, original = max(pairs, key=lambda pair: float(np.ptp(pair[1].astype(np.int16), axis=2).mean()))
    near = min(ranks, key=lambda rank: abs(rank - min(original.shape[:2]) / 6))
    return {
        2: pictures.figure_2(first, original, near),
        3: pictures.figure_3(first, original),
        9: pictures.figure_9([pairs[i] for i in spectra.spread(len(pairs), 3)], ranks[0]),
    }
