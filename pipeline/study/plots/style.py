"""The style of all figures: fonts, colours that the colour-blind can distinguish, and PNG and PDF files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The palette of Okabe and Ito, darker colours first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a dollar sign in the name of a class or network is no formula
    "svg.hashsalt": "rank-shards",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Applies the style to figures that are drawn inside it. It needs no display."""
    matplotlib.use("Agg")
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def save(figure: Figure, stem: Path) -> None:
    """Writes ``stem``.png and ``stem``.pdf. Their bytes are the same in every run."""
    figure.savefig(stem.with_name(stem.name + ".png"), metadata={"Software": None})
    figure.savefig(stem.with_name(stem.name + ".pdf"), metadata={"CreationDate": None})


def percent(axes: Axes, label: str, unit: str = " %") -> None:
    """Labels the y axis in per cent or another unit, with a true minus sign."""
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}{unit}".replace("-", "−"))
