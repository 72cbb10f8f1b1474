"""Figure of RIG maps beside plain gradients: figures 1, 8, 11, 17 and 18 of the paper."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.study.inputs import Images
from pipeline.study.rig_maps import Maps

_QUANTILE = 0.99  # of each map's absolute values: where its colours end
_AT_MOST = 16


def figure(images: Images, maps: Sequence[Maps]) -> Figure:
    """A column per image: the image, then each network's plain gradients and RIG, each map on its own scale around zero."""
    count, rows = min(len(images), _AT_MOST), 1 + 2 * len(maps)
    drawn = plt.figure(figsize=(1.25 + 0.78 * count, 0.35 + 0.84 * rows))
    panels = drawn.subplots(rows, count, squeeze=False)
    drawn.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
    for column in range(count):
        _bare(panels[0, column]).imshow(images.pixels[column], interpolation="nearest")
        panels[0, column].set_title(images.classes[images.labels[column]], fontsize=7, weight="normal", loc="center")
        for number, one in enumerate(maps):
            said = f"{images.classes[one.target[column]]} {100 * one.probability[column]:.0f} %"
            above, below = panels[1 + 2 * number, column], panels[2 + 2 * number, column]
            _map(above, one.vanilla[column])
            _map(below, one.rig[column])
            above.set_title(said, fontsize=6, weight="normal", loc="center", pad=2, color="#555555")
    for row, label in enumerate(["image", *(f"{one.name}\n{what}" for one in maps for what in ("gradients", "RIG"))]):
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return drawn


def _bare(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


def _map(axes: Axes, values: np.ndarray) -> None:
    colours: Colormap = plt.get_cmap("RdBu_r")
    most = float(np.quantile(np.abs(values), _QUANTILE)) or 1.0
    _bare(axes).imshow(values, cmap=colours, vmin=-most, vmax=most, interpolation="nearest")
