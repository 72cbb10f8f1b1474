"""The figure of trainings: full-rank test accuracy after each epoch (figures 14 to 16 of the paper)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.study.plots.style import COLOURS, percent
from pipeline.study.training.runs import FULL, STORED, Trained


def training_figure(trained: Sequence[Trained], warning: str) -> Figure:
    """Returns a figure with a line per variant and form: the mean over seeds, in a band of their standard deviation.

    Call it inside ``figure_style``.

    Args:
        warning: title of the figure; may be empty.
    """
    figure = Figure(figsize=(4.6, 3.0))
    axes = figure.subplots()
    names = dict.fromkeys((run.variant, run.form) for run in trained)
    variants = list(dict.fromkeys(run.variant for run in trained))
    for variant, form in names:
        curves = 100 * np.array(
            [[row[FULL] for row in run.rows] for run in trained if (run.variant, run.form) == (variant, form)]
        )
        mean, epochs = curves.mean(0), np.arange(1, curves.shape[1] + 1)
        spread = curves.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
        colour = COLOURS[variants.index(variant) % len(COLOURS)]
        label = variant if form == STORED else f"{variant}, {form}"
        axes.plot(epochs, mean, "-" if form == STORED else "--", color=colour, label=label)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axes.axhline(100 / trained[0].classes, color="#777777", linewidth=0.8, linestyle=":", label="chance")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    percent(axes, "accuracy on full-rank test images")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if warning:
        axes.set_title(warning, fontsize=6)
    return figure
