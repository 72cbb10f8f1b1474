"""The figure of single images at one rank with the top classes of every network: figure 4 of the paper."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.study.plots.style import COLOURS
from pipeline.study.spectra.examples import Examples

_RIGHT, _WRONG = COLOURS[2], "#bbbbbb"


def examples_figure(examples: Examples) -> Figure:
    """Returns a figure with a column per image: the image, its rank-k image, and bars of the top classes at rank k."""
    images, names = examples.images, examples.images.names
    rows = 2 + len(examples.models)
    figure = Figure(figsize=(0.7 + 1.75 * len(images), 3.6 + 1.15 * len(examples.models)))
    panels = figure.subplots(rows, len(images), squeeze=False, height_ratios=(1.7, 1.7, *(1,) * len(examples.models)))
    for column in range(len(images)):
        _picture(panels[0, column], images.pixels[column], names[images.labels[column]])
        _picture(panels[1, column], np.clip(np.rint(examples.cut[column]), 0, 255).astype(np.uint8), "")
        for m in range(len(examples.models)):
            axes, classes = panels[2 + m, column], examples.classes[m, 0, column]
            shares = 100 * examples.probabilities[m, 0, column]
            colours = [_RIGHT if c == images.labels[column] else _WRONG for c in classes]
            axes.barh(range(len(classes)), shares, color=colours, height=0.8)
            for place, (c, share) in enumerate(zip(classes, shares, strict=True)):
                axes.text(2, place, f"{names[c]}  {share:.0f} %", va="center", fontsize=6)
            axes.set_xlim(0, 100)
            axes.set_ylim(len(classes) - 0.4, -0.6)
            axes.set_yticks([])
            axes.grid(False)
            axes.tick_params(labelbottom=m == len(examples.models) - 1, labelsize=6, length=2)
    labels = ["full rank", f"rank {examples.rank}", *examples.models]
    for row, label in enumerate(labels):
        panels[row, 0].set_ylabel(label, fontsize=7)
    figure.supxlabel(
        f"probability of the top {examples.classes.shape[-1]} classes at rank {examples.rank}, %", fontsize=7
    )
    return figure


def _picture(axes: Axes, pixels: np.ndarray, title: str) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title, fontsize=7.5, loc="center")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
