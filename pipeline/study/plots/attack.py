"""The figure of attacks: shares of predictions after each attack, as stacked bars."""

import numpy as np
from matplotlib.figure import Figure

from pipeline.study.attacks.run import Attacked
from pipeline.study.attacks.tables import ALL, SHARES, labels, rows
from pipeline.study.plots.style import COLOURS


def attack_figure(attacked: Attacked) -> Figure:
    """Returns a figure with one stacked bar per outcome, over all images. Call it inside ``figure_style``."""
    bars = [row for row in rows(attacked) if row["images"] == ALL]
    figure = Figure(figsize=(6.0, 0.7 + 0.24 * len(bars)))
    axes = figure.subplots()
    left = np.zeros(len(bars))
    for name, colour in zip(SHARES, (COLOURS[1], COLOURS[0], "#bbbbbb"), strict=True):
        values = 100 * np.array([row[name] for row in bars])
        axes.barh(range(len(bars)), values, left=left, color=colour, label=name, height=0.72)
        left += values
    axes.set_yticks(range(len(bars)), [", ".join(labels(row)) for row in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of all images")
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
