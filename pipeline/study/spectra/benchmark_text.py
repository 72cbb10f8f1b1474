"""The scores of a rank benchmark as a table in LaTeX, and as text."""

import math

from pipeline.study.images import Images
from pipeline.study.results.result_files import aligned
from pipeline.study.spectra.benchmark import MEAN, Scores, Severities

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {character: "\\" + character for character in "&%$#_{}"}


def latex(scores: Scores) -> str:
    """Returns a table with the rules of the package booktabs: accuracies in per cent, and the mean relative error."""
    columns = [name for name in scores.rows if name != MEAN]
    head = " & ".join(["network", *columns, "mean relative error"])
    lines = [
        f"% Accuracy and error relative to {escaped(scores.reference)}, in per cent, with 95 % intervals (benchmark.csv).",
        r"\begin{tabular}{l" + "r" * (len(columns) + 1) + "}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
        *(" & ".join([escaped(model), *_cells(scores, m)]) + r" \\" for m, model in enumerate(scores.models)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Returns a text in which no character has a meaning for LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _cells(scores: Scores, model: int) -> list[str]:
    last = scores.rows.index(MEAN)
    cells = [_percent(value) for value in scores.accuracy.value[:last, model]]
    mean, low, high = (_percent(part[last, model]) for part in scores.error)
    return [*cells, mean if mean == "--" else f"{mean} ({low}--{high})"]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "--"


def summary(scores: Scores, severities: Severities, images: Images) -> str:
    """Returns the scores as text: accuracies, then errors relative to the reference with their intervals."""
    accuracy = [["accuracy, %", *scores.rows]]
    error = [[f"error, % of {scores.reference}'s", *scores.rows]]
    for m, model in enumerate(scores.models):
        accuracy.append([model, *(_percent(value) for value in scores.accuracy.value[:, m])])
        error.append([model, *(_percent(value) for value in scores.error.value[:, m])])
        intervals = zip(scores.error.low[:, m], scores.error.high[:, m], strict=True)
        if model != scores.reference:
            error.append(["  95 %", *(f"{_percent(low)} to {_percent(high)}" for low, high in intervals)])
    low, high = (", ".join(map(str, ranks)) for ranks in (severities.low, severities.high))
    return "\n".join(
        [
            f"{len(images):,} images of {images.origin}; low ranks {low}; high ranks {high}",
            "",
            *aligned(accuracy, 1),
            "",
            *aligned(error, 1),
        ]
    )
