"""Common parts of the report's plots. Each plot has its numbers as a table and a description in words."""

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.report.plots.palette import Palette

WIDTH = 5.2  # inches: legible on a phone, and fits beside another plot
_SIZE = (WIDTH, 3.3)


@dataclass(frozen=True)
class Table:
    """The numbers of a plot; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: used for its file and its ids.
        title: shown above it.
        alt: description in words, with the main numbers.
        table: its numbers.
        paint: draws it on axes in the colours of a palette.
        size: inches.
    """

    name: str
    title: str
    alt: str
    table: Table
    paint: Callable[[Axes, Palette], None]
    size: tuple[float, float] = _SIZE

    def save(self, palette: Palette, file: Any, **options: Any) -> None:
        """Writes the plot in the palette's colours; ``options`` go to matplotlib's ``savefig``."""
        settings: dict[Any, Any] = {
            "font.family": _families(),
            "font.size": 10,
            "text.parse_math": False,  # class names may contain dollar signs
            "svg.fonttype": "none",
            "svg.hashsalt": self.name,
            "text.color": palette.ink,
            "axes.labelcolor": palette.ink,
            "axes.edgecolor": palette.soft,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": palette.grid,
            "grid.linewidth": 0.8,
            "xtick.color": palette.soft,
            "ytick.color": palette.soft,
            "xtick.labelcolor": palette.ink,
            "ytick.labelcolor": palette.ink,
            "legend.frameon": False,
        }
        with rc_context(settings), warnings.catch_warnings():
            # Characters that no installed font has are drawn as boxes, in PNG files only.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure = Figure(figsize=self.size, facecolor="none", layout="constrained")
            self.paint(figure.add_subplot(), palette)
            figure.savefig(file, **options)


@functools.cache
def _families() -> list[str]:
    """Returns matplotlib's font and, as fallbacks, the installed fonts for other scripts."""
    from matplotlib import font_manager

    others = (
        "Noto Sans",
        "Noto Sans CJK JP",
        "Noto Sans CJK SC",
        "WenQuanYi Zen Hei",
        "Noto Sans Arabic",
        "Arial Unicode MS",
    )
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in others if name in installed)]


def band(axes: Axes, x: np.ndarray, quantiles: np.ndarray, colour: str) -> None:
    """Draws the median and the bands of the middle 50 and 90 per cent; ``quantiles`` is (5, n)."""
    lowest, lower, median, upper, highest = quantiles
    axes.fill_between(x, lowest, highest, color=colour, alpha=0.16, linewidth=0, label="middle 90 % of images")
    axes.fill_between(x, lower, upper, color=colour, alpha=0.3, linewidth=0, label="middle 50 %")
    axes.plot(x, median, color=colour, linewidth=2, label="median")


def mark_ranks(axes: Axes, ranks: Sequence[int], palette: Palette) -> None:
    """Draws a dashed line at each rank of the output, labelled at the top."""
    last = -1e9
    reach = axes.get_xlim()[1]
    for rank in ranks:
        axes.axvline(rank, color=palette.soft, linewidth=0.9, linestyle=(0, (4, 3)))
        if rank - last > 0.035 * reach:
            place = axes.get_xaxis_transform()
            axes.text(rank, 1.01, str(rank), transform=place, ha="center", va="bottom", color=palette.soft, fontsize=9)
            last = rank


def intervals(axes: Axes, quantiles: Sequence[np.ndarray], names: Sequence[str], colours: Sequence[str]) -> None:
    """Draws a line per entry, from the top: the median as a dot, the middle 50 and 90 per cent as bars."""
    for y, (of, colour) in enumerate(zip(quantiles, colours, strict=True)):
        axes.plot(of[[0, 4]], [y, y], color=colour, linewidth=2, alpha=0.45, solid_capstyle="round")
        axes.plot(of[[1, 3]], [y, y], color=colour, linewidth=6, alpha=0.75, solid_capstyle="butt")
        axes.plot(of[2], y, "o", color=colour, markersize=7)
    rows(axes, names)


def rows(axes: Axes, names: Sequence[str]) -> None:
    """Labels the lines of a plot, from the top."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def whole_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def thousands(axis: Any) -> None:
    """Labels an axis with whole numbers and thousands separators."""
    axis.set_major_locator(MaxNLocator(integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
