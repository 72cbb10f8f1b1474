"""What trainings show: mean and deviation over seeds, as table, csv and json (tables 2 and 3)."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.study import results
from pipeline.study.plots import style as plots
from pipeline.study.plots.training import figure
from pipeline.study.training.data import note
from pipeline.study.training.runs import FULL, SIGNED, STORED, Runs, Trained

_TESTS = (FULL, STORED, SIGNED)
_HEADS = ("full-rank test", "variant, as stored", "variant, signed")


class Score(NamedTuple):
    """Accuracies of one variant and form on one test, after the last epoch.

    Attributes:
        mean: over seeds.
        deviation: of the seeds around it (n - 1); None for one seed.
    """

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f}" + ("" if self.deviation is None else f" ± {100 * self.deviation:.1f}")


def write(folder: Path, runs: Runs, trained: Sequence[Trained]) -> str:
    """Write ``results.csv``, ``results.json`` and ``accuracy.png`` and ``.pdf``. Returns the table as text."""
    warning = note(runs.chosen)
    results.write_csv(folder / "results.csv", [_line(one) for one in trained])
    summary = [
        {"variant": variant, "form": form, "seeds": len(group), **{name: score._asdict() for name, score in of.items()}}
        for (variant, form), group, of in _groups(trained)
    ]
    shown = results.settings(asdict(runs), ("numpy", "torch"))
    results.write_json(folder / "results.json", shown | {"note": warning, "results": summary})
    with plots.style():
        plots.save(figure(trained, warning), folder / "accuracy")
    return "\n".join(_table(runs, trained, warning))


def _line(one: Trained) -> dict[str, Any]:
    accuracies = {name: one.rows[-1].get(name) for name in _TESTS}
    counts = {"images": one.images, "test_images": one.tested, "epochs": len(one.rows)}
    return {"variant": one.variant, "form": one.form, "seed": one.seed, **counts, **accuracies}


Group = tuple[tuple[str, str], list[Trained], dict[str, Score]]


def _groups(trained: Sequence[Trained]) -> list[Group]:
    """Networks by variant and form, with their scores by test."""
    names = dict.fromkeys((one.variant, one.form) for one in trained)
    found = [(name, [one for one in trained if (one.variant, one.form) == name]) for name in names]
    return [(name, group, _scores(group)) for name, group in found]


def _scores(group: list[Trained]) -> dict[str, Score]:
    tests = [name for name in _TESTS if name in group[0].rows[-1]]
    values = {name: np.array([one.rows[-1][name] for one in group]) for name in tests}
    return {
        name: Score(float(of.mean()), float(of.std(ddof=1)) if len(of) > 1 else None) for name, of in values.items()
    }


def _table(runs: Runs, trained: Sequence[Trained], warning: str) -> list[str]:
    lines: list[tuple[str, ...]] = [("trained on", *_HEADS)]
    for (variant, form), _, scores in _groups(trained):
        cells = [
            f"{scores[name]}{'*' if name == _matched(variant, form) else ' '}" if name in scores else "- "
            for name in _TESTS
        ]
        lines.append((variant if form == STORED else f"{variant}, {form} (negative control)", *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    count = len(runs.seeds)
    spread = f"mean ± deviation of {count} seeds" if count > 1 else "one seed, so no deviation"
    text.append(
        f"Per cent right of {trained[0].tested:,} test images, {spread}; * images as it was trained on. {runs.network}, "
        f"{trained[0].images:,} training images, {runs.recipe.name} recipe, {runs.recipe.epochs} epochs."
    )
    return [*text, warning] if warning else text


def _matched(variant: str, form: str) -> str:
    """The test of images such as it was trained on."""
    return FULL if variant == FULL else form
