"""Everything that a report shows, gathered from an output."""

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

# Ranks for outputs that hold none: the paper's of CIFAR-10 and of ImageNet.
_RANKS = ((3, 5, 10, 20), (30, 40, 50, 100))
_LADDERS = {True: 10, False: 3}  # images to slide through, of small and of large ones


@dataclass(frozen=True)
class Report:
    """What the page and the pictures on paper are made of.

    Attributes:
        split: that the pictures and the measures are of.
        shape: (height, width) of every image; None where they differ.
        how: where the originals come from, in words; None where they cannot be had.
        measured: images of which errors were measured.
        spectra: how many images' singular values were read, and of how many; None where there are none.
        figures: the paper's, by number.
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
    """Gather a report from the output in ``root``.

    Args:
        split: that pictures and errors are taken from; None for the output's first.
        sample: images of which PSNR and SSIM are measured; None for what takes a few seconds.

    Raises:
        UsageError: there is no such split.
        PipelineError: there is no finished output, it is damaged, or it holds no image.
    """
    output = open_output(root)
    if not output.variants:
        raise PipelineError(f"{root} holds no variant; there is nothing to show")
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


def _split(output: Output, facts: Facts, wanted: str | None) -> str:
    """The wanted split, or the first that has images."""
    if wanted is not None:
        return output.part(output.variants[0], wanted).split
    return next((split for split, counts in facts.counts.items() if counts.sum()), output.splits[0])


def _ranks(facts: Facts, shape: tuple[int, int] | None) -> tuple[int, ...]:
    small = shape is not None and max(shape) <= SMALL
    ranks = facts.ranks or _RANKS[0 if small else 1]
    return tuple(rank for rank in ranks if shape is None or rank < min(shape)) or (1,)


def _one_each(chosen: Sequence[Chosen]) -> list[Chosen]:
    """The first image of each class."""
    return list({image.label: image for image in reversed(chosen)}.values())[::-1]


def _ladders(
    stored: Stored,
    facts: Facts,
    source: Originals | None,
    chosen: Sequence[Chosen],
    ranks: tuple[int, ...],
) -> tuple[Ladder, ...]:
    some = _one_each(chosen)[: _LADDERS[per_class(stored.output.shape) > 1]]
    if source:
        found = [(image, _original(source, image)) for image in some]
        return tuple(
            pictures.ladder(image, original, ranks) for image, original in found if pictures.has_ranks(original)
        )
    return tuple(pictures.stored_ladder(stored, facts.variants, image) for image in some if facts.ranks)


def _original(source: Originals, image: Chosen) -> np.ndarray:
    """uint8 (h, w, 3), reduced where cutting it at many ranks would take too long."""
    return reduced(source.get(image.position).transpose(2, 0, 1)).transpose(1, 2, 0)


def _figures(source: Originals | None, chosen: Sequence[Chosen], ranks: tuple[int, ...]) -> dict[int, Sheet]:
    if not source or not chosen:
        return {}
    found = [(image, _original(source, image)) for image in _one_each(chosen)]
    some = [(image, original) for image, original in found if pictures.has_ranks(original)]
    if not some:
        return {}
    first, original = max(some, key=lambda pair: float(np.ptp(pair[1].astype(np.int16), axis=2).mean()))  # colourful
    near = min(ranks, key=lambda rank: abs(rank - min(original.shape[:2]) / 6))
    return {
        2: pictures.figure_2(first, original, near),
        3: pictures.figure_3(first, original),
        9: pictures.figure_9([some[i] for i in spectra.spread(len(some), 3)], ranks[0]),
    }
