"""Plots the errors of each variant: PSNR, SSIM and clipping."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.report.measures import Measure
from pipeline.report.page.facts import VariantFacts
from pipeline.report.plots.palette import Palette
from pipeline.report.plots.plot import WIDTH, Plot, Table, intervals, rows

_HEAD = ("variant", "5 %", "25 %", "median", "75 %", "95 %")


def errors(variants: Sequence[VariantFacts], measures: Mapping[str, Measure]) -> list[Plot]:
    """Returns the plots of PSNR and SSIM of each variant against the originals."""
    measured = [variant for variant in variants if variant.name in measures]
    psnr = {variant.name: measures[variant.name].psnr for variant in measured}
    ssim = {v.name: values for v in measured if (values := measures[v.name].ssim) is not None}
    plots = []
    if psnr:
        plots.append(_error("psnr", "PSNR against the original", "dB, higher is closer", measured, psnr, 1))
    if ssim:
        plots.append(_error("ssim", "SSIM against the original", "1 if equal", measured, ssim, 3))
    return plots


def _error(
    name: str, title: str, unit: str, variants: Sequence[VariantFacts], of: Mapping[str, np.ndarray], digits: int
) -> Plot:
    listed = [variant for variant in variants if variant.name in of]
    table = tuple((v.name, *(_value(value, digits) for value in of[v.name])) for v in listed)
    alt = f"{title} by variant ({unit}). Median: " + "; ".join(f"{row[0]} {row[3]}" for row in table) + "."

    def paint(axes: Axes, palette: Palette) -> None:
        quantiles = [np.where(np.isfinite(of[v.name]), of[v.name], np.nan) for v in listed]
        intervals(axes, quantiles, [v.name for v in listed], [palette.of(v.cut.component) for v in listed])
        axes.set_xlabel(unit)
        if name == "ssim":
            axes.set_xlim(right=1.01)

    return Plot(name, title, alt, Table(_HEAD, table), paint, _height(len(listed)))


def clipping(variants: Sequence[VariantFacts]) -> Plot | None:
    """Returns the plot of the share of clipped subpixels by variant; None if no variant is clipped."""
    listed = [(variant, variant.clipped) for variant in variants if variant.clipped is not None]
    if not listed:
        return None
    table = tuple((variant.name, f"{100 * clipped:.3f} %") for variant, clipped in listed)
    alt = (
        "Share of subpixels outside of 0 to 255, which are clipped: " + "; ".join(" ".join(row) for row in table) + "."
    )

    def paint(axes: Axes, palette: Palette) -> None:
        shares = [100 * clipped for _, clipped in listed]
        axes.barh(range(len(listed)), shares, 0.62, color=[palette.of(variant.cut.component) for variant, _ in listed])
        for y, value in enumerate(shares):
            axes.annotate(f"{value:.2f} %", (value, y), (5, 0), textcoords="offset points", va="center", fontsize=9)
        rows(axes, [variant.name for variant, _ in listed])
        axes.set_xlim(0, max(max(shares) * 1.12, 0.1))
        axes.set_xlabel("% of subpixels")

    return Plot("clipping", "Clipped subpixels", alt, Table(("variant", "clipped"), table), paint, _height(len(listed)))


def _height(entries: int) -> tuple[float, float]:
    return WIDTH, 0.9 + 0.3 * max(entries, 2)


def _value(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "equal"
