"""Plots the singular values, and the energy that each rank keeps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from pipeline.report.plots.palette import Palette
from pipeline.report.plots.plot import Plot, Table, band, mark_ranks, whole_ticks
from pipeline.report.spectra import Spectra

_HEAD = ("5 %", "25 %", "median", "75 %", "95 %")
_MOST = 5.0  # upper end of the energy axis, in nines: 99.999 %
_ROWS = 40


def spectrum(spectra: Spectra, ranks: Sequence[int]) -> Plot:
    """Returns the plot of the quantiles of each singular value, on a log scale."""
    values = spectra.values
    index = np.arange(1, values.shape[1] + 1)
    median = values[2]

    def paint(axes: Axes, palette: Palette) -> None:
        axes.set_yscale("log")
        positive = np.where(values > 0, values, np.nan)
        band(axes, index, positive, palette.low)
        floor = np.nanmin(positive[2]) if np.isfinite(positive[2]).any() else 1e-3
        axes.set_ylim(bottom=max(floor / 30, 1e-6))
        axes.set_xlim(0.5, index[-1] + 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("singular value, from the largest")
        axes.set_ylabel("σ of the image in [0, 1]")
        whole_ticks(axes)
        mark_ranks(axes, ranks, palette)
        axes.legend(loc="upper right", fontsize=9)

    picked = _picked(len(median), ranks)
    rows = tuple((str(k), *(_number(of[k - 1]) for of in values)) for k in picked)
    alt = (
        f"Log-scale curve of the median of each of {len(median)} singular values with bands of the middle 50 and 90 per "
        f"cent: the median falls from {_number(median[0])} to {_number(median[-1])}."
    )
    return Plot("spectrum", "Singular values", alt, Table(("singular value", *_HEAD), rows), paint)


def energy(spectra: Spectra, ranks: Sequence[int]) -> Plot:
    """Returns the plot of the energy that each rank keeps; its axis is logarithmic in the energy that is removed."""
    kept = spectra.energy
    index = np.arange(1, kept.shape[1] + 1)

    def paint(axes: Axes, palette: Palette) -> None:
        nines = np.minimum(-np.log10(np.maximum(1 - kept, 10.0**-_MOST / 2)), _MOST)
        band(axes, index, nines, palette.low)
        axes.set_ylim(0, _MOST)
        axes.set_xlim(0.5, index[-1] + 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (1 - 10.0**-value):.6g} %"))
        axes.set_xlabel("rank k")
        axes.set_ylabel("energy kept")
        whole_ticks(axes)
        mark_ranks(axes, ranks, palette)
        axes.legend(loc="lower right", fontsize=9)

    picked = _picked(kept.shape[1], ranks)
    rows = tuple((str(k), *(share(of[k - 1]) for of in kept)) for k in picked)
    medians = [f"{share(kept[2][k - 1])} at rank {k}" for k in ranks if k <= len(index)] or [
        f"{share(kept[2][0])} at rank 1"
    ]
    alt = f"Share of the squared singular values that the k largest contain, over the rank k. Median: {', '.join(medians)}."
    return Plot("energy", "Energy kept by each rank", alt, Table(("rank", *_HEAD), rows), paint)


def share(value: float) -> str:
    """Returns a share in per cent, with enough digits to distinguish it from 100 %."""
    left = 100 * (1 - value)
    digits = 2 if left >= 0.1 else 3 if left >= 0.01 else 4
    return "100 %" if left < 5e-5 else f"{100 - left:.{digits}f} %"


def _picked(side: int, ranks: Sequence[int]) -> list[int]:
    """Returns all ranks; if these are too many, a geometric series and the output's ranks."""
    if side <= _ROWS:
        return list(range(1, side + 1))
    series = np.geomspace(1, side, 20).round().astype(int).tolist()
    return sorted({*series, *(k for k in ranks if k <= side)})


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.3g}"
