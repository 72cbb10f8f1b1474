"""Figures of rank spectra: figures 6, 7 and 13 of the paper, and the controls at equal distortion."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.study.distortion.match import psnr
from pipeline.study.distortion.spectrum import Spectrum
from pipeline.study.distortion.tables import MEASURES, Twin, hits
from pipeline.study.intervals import Interval, paired_difference, wilson
from pipeline.study.plots.style import COLOURS, MARKERS, percent

_TITLES = {"accuracy": "Accuracy", "agreement": "Agreement with full rank"}
_LEAST = 0.95  # a control is drawn where it could be matched for at least this share of the images


def spectrum_figure(spectrum: Spectrum, twins: Sequence[Twin], reference: str) -> Figure:
    """Accuracy and agreement against rank (7a), and below each the gap to a reference network (7c)."""
    figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.2), sharex=True, height_ratios=(1.35, 1))
    reference_place = spectrum.models.index(reference)
    ranks = np.arange(spectrum.error.shape[1])
    for column, measure in enumerate(MEASURES):
        above, below = panels[:, column]
        right = hits(spectrum, measure)[:, 0]
        for number, name in enumerate(spectrum.models):
            look = _look(spectrum.models, name, twins)
            _band(above, ranks, wilson(right[number].sum(-1), right.shape[-1]), name, look)
            if name != reference:
                _band(below, ranks, paired_difference(right[number], right[reference_place]), name, look)
        above.set_title(f"{'ab'[column]}   {_TITLES[measure]}", pad=5)
        above.set_ylim(0, 100)
        percent(above, "images")
        below.axhline(0, color="#444444", linewidth=0.8)
        below.set_title(f"{'cd'[column]}   Gap in {measure} to {reference}")
        percent(below, "points", unit="")
        below.set_xlabel("rank k (0 is black)")
        _decibels(above, ranks, spectrum.error[0])
    panels[0, 1].legend(loc="lower right")
    return figure


def _look(models: Sequence[str], name: str, twins: Sequence[Twin]) -> tuple[str, str]:
    """Colour and line: a natural twin has its robust network's colour, dashed."""
    twin = next((twin for twin in twins if twin.natural == name), None)
    others = [model for model in models if model not in {twin.natural for twin in twins}]
    return COLOURS[others.index(twin.robust if twin else name) % len(COLOURS)], "--" if twin else "-"


def _band(axes: Axes, ranks: np.ndarray, interval: Interval, label: str, look: tuple[str, str]) -> None:
    axes.plot(ranks, 100 * interval.value, look[1], color=look[0], label=label)
    axes.fill_between(ranks, 100 * interval.low, 100 * interval.high, color=look[0], alpha=0.16, linewidth=0)


def _decibels(axes: Axes, ranks: np.ndarray, error: np.ndarray) -> None:
    """A second axis above: the PSNR of rank k, decibels."""
    values = psnr(error.mean(-1, dtype=np.float64))
    axes.set_xlim(ranks[0], ranks[-1])
    second = axes.twiny()
    second.grid(False)
    second.set_xlim(axes.get_xlim())
    at = [int(rank) for rank in np.linspace(ranks[0], ranks[-1], 9).round() if np.isfinite(values[int(rank)])]
    second.set_xticks(at, [f"{values[rank]:.0f}" for rank in at])
    second.spines["top"].set_visible(True)
    second.set_xlabel("PSNR of rank k, dB", fontsize=7)
    second.tick_params(labelsize=6.5, length=2)


def controls_figure(spectrum: Spectrum) -> Figure:
    """Accuracy of each network against PSNR, for rank and each control at rank k's distortion, image by image."""
    columns = min(4, len(spectrum.models))
    rows = -(-len(spectrum.models) // columns)
    size = (1.2 + 2.1 * columns, 0.7 + 2.1 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    right, matched = hits(spectrum, "accuracy") & spectrum.matched, spectrum.matched
    decibels = psnr(spectrum.error[0].mean(-1, dtype=np.float64))
    shown = np.isfinite(decibels) & (decibels < 50)
    for number, (name, axes) in enumerate(zip(spectrum.models, panels.flat, strict=False)):
        for place, family in enumerate(spectrum.families):
            enough = shown & (matched[place].mean(-1) >= _LEAST)
            interval = wilson(right[number, place].sum(-1), matched[place].sum(-1))
            value, low, high = (100 * np.where(enough, part, np.nan) for part in interval)
            colour = COLOURS[place]
            axes.plot(decibels, value, color=colour, marker=MARKERS[place], label=family, linewidth=1.1)
            axes.fill_between(decibels, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.set_title(name)
        axes.set_ylim(0, 100)
        if number % columns == 0:
            percent(axes, "accuracy")
        if number < columns:
            _ranks(axes, decibels, shown)
        if number >= len(spectrum.models) - columns:
            axes.set_xlabel("PSNR, dB")
            axes.tick_params(labelbottom=True)  # also where an unused panel is below
    for axes in panels.flat[len(spectrum.models) :]:
        axes.set_visible(False)
    panels.flat[0].legend(loc="lower right", title="distortion")
    return figure


def _ranks(axes: Axes, decibels: np.ndarray, shown: np.ndarray) -> None:
    """A second axis above: the rank whose mean PSNR it is."""
    second = axes.twiny()
    second.grid(False)
    second.set_xlim(axes.get_xlim())
    near = (axes.get_xlim()[1] - axes.get_xlim()[0]) / 15  # numbers nearer than this would touch
    kept: list[int] = []
    for k in np.flatnonzero(shown).tolist():
        if not kept or decibels[k] - decibels[kept[-1]] > near:
            kept.append(k)
    second.set_xticks(decibels[kept], [str(k) for k in kept])
    second.spines["top"].set_visible(True)
    second.set_xlabel("rank k", fontsize=7)
    second.tick_params(labelsize=6.5, length=2)
