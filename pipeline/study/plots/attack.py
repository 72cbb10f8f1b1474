"""The figure of attacks: what is predicted afterwards, as stacked bars."""

import numpy as np
from matplotlib.figure import Figure

from pipeline.study.attacks.run import Attacked
from pipeline.study.attacks.table import ALL, SHARES, names, rows
from pipeline.study.plots import style


def figure(attacked: Attacked) -> Figure:
    """Shares of all images as stacked bars, a bar an outcome. Draw it in ``plots.style``."""
    shown = [row for row in rows(attacked) if row["images"] == ALL]
    drawn = Figure(figsize=(6.0, 0.7 + 0.24 * len(shown)))
    axes = drawn.subplots()
    left = np.zeros(len(shown))
    for name, colour in zip(SHARES, (style.COLOURS[1], style.COLOURS[0], "#bbbbbb"), strict=True):
        values = 100 * np.array([row[name] for row in shown])
        axes.barh(range(len(shown)), values, left=left, color=colour, label=name, height=0.72)
        left += values
    axes.set_yticks(range(len(shown)), [", ".join(names(row)) for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of all images")
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return drawn
