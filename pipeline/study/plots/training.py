"""The figure of trainings: full-rank test accuracy after each epoch (figures 14 to 16)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.study.plots import style
from pipeline.study.training.runs import FULL, STORED, Trained


def figure(trained: Sequence[Trained], warning: str) -> Figure:
    """A line for each variant and form, the mean of its seeds, in a band of their deviation. Draw it in ``plots.style``.

    Args:
        warning: shown above; may be empty.
    """
    drawn = Figure(figsize=(4.6, 3.0))
    axes = drawn.subplots()
    names = dict.fromkeys((one.variant, one.form) for one in trained)
    variants = list(dict.fromkeys(one.variant for one in trained))
    for variant, form in names:
        curves = 100 * np.array(
            [[row[FULL] for row in one.rows] for one in trained if (one.variant, one.form) == (variant, form)]
        )
        mean, epochs = curves.mean(0), np.arange(1, curves.shape[1] + 1)
        spread = curves.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
        colour = style.COLOURS[variants.index(variant) % len(style.COLOURS)]
        label = variant if form == STORED else f"{variant}, {form}"
        axes.plot(epochs, mean, "-" if form == STORED else "--", color=colour, label=label)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axes.axhline(100 / trained[0].classes, color="#777777", linewidth=0.8, linestyle=":", label="chance")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    style.percent(axes, "accuracy on full-rank test images")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if warning:
        axes.set_title(warning, fontsize=6)
    return drawn
