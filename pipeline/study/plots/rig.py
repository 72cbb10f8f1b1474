"""The figures of RIG maps: beside plain gradients (figures 1, 8, 11, 17, 18 of the paper), and their stages (figure 10)."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.study.attribution.maps import Maps
from pipeline.study.attribution.stages import Stages
from pipeline.study.images import Images
from pipeline.study.ranks import EVERY

_QUANTILE = 0.99  # quantile of a map's absolute values at which its colours saturate
_MAX_IMAGES = 16


def rig_figure(images: Images, maps: Sequence[Maps]) -> Figure:
    """Returns a figure with a column per image: the image, then the maps of each network, plain gradients first.

    Each map has its own colour scale, symmetric around zero.
    """
    count, rows = min(len(images), _MAX_IMAGES), 1 + sum(len(m.methods) for m in maps)
    side = 0.78 if min(images.size) <= EVERY else 1.15  # inches
    figure = Figure(figsize=(1.25 + side * count, 0.35 + (side + 0.06) * rows))
    panels = figure.subplots(rows, count, squeeze=False)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
    names, labels = images.names, ["image"]
    for m in maps:
        for place, (method, values) in enumerate(m.methods.items()):
            for column in range(count):
                axes = panels[len(labels), column]
                _map(axes, values[column])
                if place == 0:
                    prediction = f"{names[m.target[column]]} {100 * m.probability[column]:.0f} %"
                    axes.set_title(prediction, fontsize=6, weight="normal", loc="center", pad=2, color="#555555")
            labels.append(f"{m.name}\n{method}")
    for column in range(count):
        _hide_axes(panels[0, column]).imshow(images.pixels[column], interpolation="nearest")
        panels[0, column].set_title(names[images.labels[column]], fontsize=7, weight="normal", loc="center")
    for row, label in enumerate(labels):
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return figure


def stages_figure(images: Images, shown: Stages) -> Figure:
    """Returns a figure with a column per rank: the rank-k image, the gradients there, and their weighted sum so far.

    Each map has its own colour scale, symmetric around zero.
    """
    side = 1.15  # inches
    figure = Figure(figsize=(1.0 + side * len(shown.ranks), 0.6 + 3 * side))
    panels = figure.subplots(3, len(shown.ranks), squeeze=False)
    for column, k in enumerate(shown.ranks.tolist()):
        _hide_axes(panels[0, column]).imshow(np.clip(shown.cuts[column], 0, 1), interpolation="nearest")
        panels[0, column].set_title(f"k = {k}", fontsize=7.5, weight="normal", loc="center")
        _map(panels[1, column], shown.gradients[column])
        _map(panels[2, column], shown.sums[column])
    for row, label in enumerate(("rank k", "gradients\nat rank k", "weighted sum\nof ranks 1 to k")):
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle(f"{shown.model}, class {images.names[shown.target]}", fontsize=8)
    return figure


def _hide_axes(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


def _map(axes: Axes, values: np.ndarray) -> None:
    colours: Colormap = plt.get_cmap("RdBu_r")
    limit = float(np.quantile(np.abs(values), _QUANTILE)) or 1.0
    _hide_axes(axes).imshow(values, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
