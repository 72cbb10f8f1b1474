"""The figures of rank spectra: figures 6, 7 and 13 of the paper, and the controls at equal distortion."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.study.distortion.matching import psnr
from pipeline.study.intervals import Interval, paired_difference, wilson
from pipeline.study.plots.style import COLOURS, MARKERS, percent
from pipeline.study.ranks import EVERY
from pipeline.study.spectra.spectrum import Spectrum
from pipeline.study.spectra.tables import MEASURES, Twin, hits

_TITLES = {"accuracy": "Accuracy", "agreement": "Agreement with full rank"}
_MIN_MATCHED = 0.95  # share of the images that must be matched for a point of a control to be drawn


def spectrum_figure(spectrum: Spectrum, twins: Sequence[Twin], reference: str) -> Figure:
    """Returns a figure of accuracy and agreement against rank (7a), above the gaps to a reference network (7c)."""
    figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.2), sharex=True, height_ratios=(1.35, 1))
    reference_place = spectrum.models.index(reference)
    ranks = np.array(spectrum.ranks)
    for column, measure in enumerate(MEASURES):
        above, below = panels[:, column]
        right = hits(spectrum, measure)[:, 0]
        for number, name in enumerate(spectrum.models):
            line = _line_style(spectrum.models, name, twins)
            _band(above, ranks, wilson(right[number].sum(-1), right.shape[-1]), name, line)
            if name != reference:
                _band(below, ranks, paired_difference(right[number], right[reference_place]), name, line)
        above.set_title(f"{'ab'[column]}   {_TITLES[measure]}", pad=5)
        above.set_ylim(0, 100)
        percent(above, "images")
        below.axhline(0, color="#444444", linewidth=0.8)
        below.set_title(f"{'cd'[column]}   Gap in {measure} to {reference}")
        percent(below, "points", unit="")
        below.set_xlabel("rank k (0 is black)")
        _scale_ranks(above, below, side=int(ranks[-1]))
        _add_psnr_axis(above, ranks, spectrum.error[0])
    panels[0, 1].legend(loc="lower right")
    return figure


def _line_style(models: Sequence[str], name: str, twins: Sequence[Twin]) -> tuple[str, str]:
    """Returns colour and line style. A natural twin has the colour of its robust network, and is dashed."""
    twin = next((twin for twin in twins if twin.natural == name), None)
    others = [model for model in models if model not in {twin.natural for twin in twins}]
    return COLOURS[others.index(twin.robust if twin else name) % len(COLOURS)], "--" if twin else "-"


def _band(axes: Axes, ranks: np.ndarray, interval: Interval, label: str, line: tuple[str, str]) -> None:
    axes.plot(ranks, 100 * interval.value, line[1], color=line[0], label=label)
    axes.fill_between(ranks, 100 * interval.low, 100 * interval.high, color=line[0], alpha=0.16, linewidth=0)


def _add_psnr_axis(axes: Axes, ranks: np.ndarray, error: np.ndarray) -> None:
    """Adds a second axis on top: the PSNR of rank k in decibels."""
    values = psnr(error.mean(-1, dtype=np.float64))
    axes.set_xlim(ranks[0], ranks[-1])
    if ranks[-1] > EVERY:
        ticks = [int(np.argmin(np.abs(ranks - tick))) for tick in axes.get_xticks()]
    else:
        ticks = [int(np.argmin(np.abs(ranks - k))) for k in np.linspace(ranks[0], ranks[-1], 9).round()]
    ticks = [place for place in dict.fromkeys(ticks) if np.isfinite(values[place])]
    labels = [f"{values[place]:.0f}" for place in ticks]
    _add_top_axis(axes, ranks[ticks].tolist(), labels, "PSNR of rank k, dB")


def _scale_ranks(above: Axes, below: Axes, side: int) -> None:
    """Gives low ranks more room on the shared axis of large images, where accuracy changes at low rank."""
    if side <= EVERY:
        return
    ticks = [k for k in (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000) if k < 0.85 * side]
    for axes in (above, below):
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xticks([*ticks, side])
        axes.minorticks_off()


def _root(ranks: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(ranks, 0))
    return root


def _add_top_axis(axes: Axes, ticks: Sequence[float], labels: list[str], title: str) -> None:
    second = axes.twiny()
    second.grid(False)
    if axes.get_xscale() == "function":
        second.set_xscale("function", functions=(_root, np.square))
    second.set_xlim(axes.get_xlim())
    second.set_xticks(ticks, labels)
    second.spines["top"].set_visible(True)
    second.set_xlabel(title, fontsize=7)
    second.tick_params(labelsize=6.5, length=2)


def controls_figure(spectrum: Spectrum) -> Figure:
    """Returns a figure of each network's accuracy against PSNR, for rank and for each control at the same error."""
    columns = min(4, len(spectrum.models))
    rows = -(-len(spectrum.models) // columns)
    size = (1.2 + 2.1 * columns, 0.7 + 2.1 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    right, matched = hits(spectrum, "accuracy") & spectrum.matched, spectrum.matched
    decibels = psnr(spectrum.error[0].mean(-1, dtype=np.float64))
    drawn = np.isfinite(decibels) & (decibels < 50)
    for number, (name, axes) in enumerate(zip(spectrum.models, panels.flat, strict=False)):
        for place, family in enumerate(spectrum.families):
            enough = drawn & (matched[place].mean(-1) >= _MIN_MATCHED)
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
            _add_rank_axis(axes, spectrum.ranks, decibels, drawn)
        if number >= len(spectrum.models) - columns:
            axes.set_xlabel("PSNR, dB")
            axes.tick_params(labelbottom=True)  # also above an unused panel
    for axes in panels.flat[len(spectrum.models) :]:
        axes.set_visible(False)
    panels.flat[0].legend(loc="lower right", title="distortion")
    return figure


def _add_rank_axis(axes: Axes, ranks: Sequence[int], decibels: np.ndarray, drawn: np.ndarray) -> None:
    """Adds a second axis on top: the rank with this mean PSNR."""
    spacing = (axes.get_xlim()[1] - axes.get_xlim()[0]) / 15  # labels closer than this would overlap
    ticks: list[int] = []
    for place in np.flatnonzero(drawn).tolist():
        if not ticks or decibels[place] - decibels[ticks[-1]] > spacing:
            ticks.append(place)
    _add_top_axis(axes, decibels[ticks].tolist(), [str(ranks[place]) for place in ticks], "rank k")
