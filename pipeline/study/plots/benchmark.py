"""The figure of a rank benchmark."""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from pipeline.study.plots.style import COLOURS, MARKERS, percent
from pipeline.study.spectra.benchmark import Scores

_TICKS = (3, 6, 12, 25, 50, 75, 100, 150, 200, 400, 800, 1600, 3200)
_WIDTH = 0.64  # of the points of one distortion, in its unit of the axis


def benchmark_figure(scores: Scores) -> Figure:
    """Returns a figure of accuracies, above the errors relative to the reference, with 95 % intervals."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 5.0), sharex=True)
    count = len(scores.models)
    for m, model in enumerate(scores.models):
        offset = _WIDTH * ((m + 0.5) / count - 0.5)
        places = [row + offset for row in range(len(scores.rows))]
        style = {"color": COLOURS[m % len(COLOURS)], "marker": MARKERS[m % len(MARKERS)], "linestyle": "none"}
        for axes, interval in ((above, scores.accuracy), (below, scores.error)):
            value, low, high = (100 * part[:, m] for part in interval)
            axes.errorbar(places, value, yerr=(value - low, high - value), elinewidth=0.9, label=model, **style)
    above.set_title("a   Accuracy")
    above.set_ylim(0, 100)
    percent(above, "accuracy")
    below.set_title(f"b   Error, relative to {scores.reference}")
    below.axhline(100, color="#444444", linewidth=0.8)
    below.set_yscale("log")  # half and twice the error are as far apart
    low, high = below.get_ylim()
    below.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    below.minorticks_off()
    percent(below, "error, of the reference's")
    below.set_xticks(range(len(scores.rows)), scores.rows)
    for axes in (above, below):
        axes.grid(False, axis="x")
        axes.axvline(len(scores.rows) - 1.5, color="#bbbbbb", linewidth=0.6)
    above.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
