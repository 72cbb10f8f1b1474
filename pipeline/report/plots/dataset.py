"""Plots the images per class, and the time of a build by stage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.planning.shard_task import STAGES
from pipeline.report.page.facts import Work
from pipeline.report.plots.palette import Palette
from pipeline.report.plots.plot import WIDTH, Plot, Table, rows, thousands

_BARS = 40  # most classes to draw as bars; more are drawn as a curve of sorted counts
_SHADES = (1.0, 0.55, 0.3)


def balance(counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> Plot:
    """Returns the plot of images by class, for every split."""
    splits = list(counts)
    total = np.sum(list(counts.values()), axis=0)
    listed = list(range(len(classes)))
    if len(classes) > _BARS:
        order = np.argsort(total, kind="stable").tolist()
        listed = [*order[-10:][::-1], *order[:10][::-1]]
    table = tuple((classes[i], *(f"{counts[split][i]:,}" for split in splits)) for i in listed)
    least, most = (int(total.min()), int(total.max())) if len(total) else (0, 0)
    alt = f"Images of each of {len(classes):,} classes: from {least:,} to {most:,}, over all splits together."
    painted = _bars if len(classes) <= _BARS else _curve

    def paint(axes: Axes, palette: Palette) -> None:
        painted(axes, palette, counts, classes)

    height = 1.1 + 0.28 * len(classes) if len(classes) <= _BARS else 3.2
    head = ("class" if len(classes) <= _BARS else "class (the ten largest and the ten smallest)", *splits)
    return Plot("classes", "Images by class", alt, Table(head, table), paint, (WIDTH, height))


def _bars(axes: Axes, palette: Palette, counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    left = np.zeros(len(classes))
    for number, (split, images) in enumerate(counts.items()):
        shade = _SHADES[number % len(_SHADES)]
        axes.barh(range(len(classes)), images, 0.66, left, color=palette.full, alpha=shade, label=split)
        left = left + images
    rows(axes, classes)
    axes.set_xlabel("images")
    thousands(axes.xaxis)
    if len(counts) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(counts), fontsize=9)


def _curve(axes: Axes, palette: Palette, counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    for number, (split, images) in enumerate(counts.items()):
        line = ("-", "--", ":")[number % 3]
        axes.plot(range(1, len(classes) + 1), np.sort(images)[::-1], line, color=palette.full, linewidth=2, label=split)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("classes, from the largest")
    axes.set_ylabel("images")
    thousands(axes.xaxis)
    thousands(axes.yaxis)
    axes.legend(fontsize=9)


def stages(work: Sequence[Work]) -> Plot | None:
    """Returns the plot of worker time per image by stage, over all runs in the log; None without images."""
    images = sum(run.images for run in work)
    if not images:
        return None
    seconds = {stage: sum(run.seconds[stage] for run in work) for stage in STAGES}
    each = {stage: 1000 * value / images for stage, value in seconds.items()}
    whole = sum(seconds.values()) or 1.0
    most = max(each, key=lambda stage: each[stage])
    table = tuple((s, f"{each[s]:.3f} ms", f"{seconds[s]:.1f} s", f"{100 * seconds[s] / whole:.0f} %") for s in STAGES)
    alt = f"Milliseconds of work on an image by stage; {most} takes most: " + "; ".join(f"{r[0]} {r[1]}" for r in table)

    def paint(axes: Axes, palette: Palette) -> None:
        values = [each[stage] for stage in STAGES]
        colours = [palette.low if stage == most else palette.full for stage in STAGES]
        axes.barh(range(len(STAGES)), values, 0.62, color=colours)
        for y, value in enumerate(values):
            axes.annotate(f"{value:.2f}", (value, y), (5, 0), textcoords="offset points", va="center", fontsize=9)
        rows(axes, STAGES)
        axes.set_xlim(0, max(values) * 1.12 or 1)
        axes.set_xlabel("ms of work per image, on one worker")

    head = ("stage", "per image", "total", "share")
    return Plot("stages", "Time by stage", f"{alt}.", Table(head, table), paint, (WIDTH, 2.3))
