"""Tables of trainings: mean and standard deviation over seeds (tables 2 and 3 of the paper)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.study.results.result_files import aligned
from pipeline.study.training.runs import FULL, SIGNED, STORED, Runs, Trained

_TESTS = (FULL, STORED, SIGNED)
_HEADINGS = ("trained on", "full-rank test", "variant, as stored", "variant, signed")


class Score(NamedTuple):
    """Accuracy of one variant and form on one test, after the last epoch.

    Attributes:
        mean: over seeds.
        deviation: standard deviation over seeds (n - 1); None for one seed.
    """

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f}" + ("" if self.deviation is None else f" ± {100 * self.deviation:.1f}")


def rows(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """Returns a row per network for ``results.csv``."""
    return [
        {"variant": run.variant, "form": run.form, "seed": run.seed}
        | {"images": run.images, "test_images": run.tested, "epochs": len(run.rows)}
        | {name: run.rows[-1].get(name) for name in _TESTS}
        for run in trained
    ]


def scores(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """Returns mean and deviation per variant, form and test for ``results.json``."""
    return [
        {"variant": variant, "form": form, "seeds": len(group)}
        | {name: score._asdict() for name, score in _scores(group).items()}
        for (variant, form), group in _groups(trained).items()
    ]


def text(runs: Runs, trained: Sequence[Trained], warning: str) -> str:
    """Returns the scores as a text table, in per cent, with a caption and the warning."""
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for (variant, form), group in _groups(trained).items():
        group_scores = _scores(group)
        matching = FULL if variant == FULL else form  # the test with images like the training images
        cells = [
            f"{group_scores[name]}{'*' if name == matching else ' '}" if name in group_scores else "- "
            for name in _TESTS
        ]
        lines.append((variant if form == STORED else f"{variant}, {form} (negative control)", *cells))
    seeds = len(runs.seeds)
    spread = f"mean ± deviation of {seeds} seeds" if seeds > 1 else "one seed, so no deviation"
    caption = (
        f"Accuracy in per cent on {trained[0].tested:,} test images, {spread}; * the test with images like the training "
        f"images. {runs.network}, {trained[0].images:,} training images, {runs.recipe.name} recipe, "
        f"{runs.recipe.epochs} epochs."
    )
    return "\n".join([*aligned(lines, left=1), caption, *([warning] if warning else [])])


def _groups(trained: Sequence[Trained]) -> dict[tuple[str, str], list[Trained]]:
    """Returns the networks by variant and form."""
    groups: dict[tuple[str, str], list[Trained]] = {}
    for run in trained:
        groups.setdefault((run.variant, run.form), []).append(run)
    return groups


def _scores(group: list[Trained]) -> dict[str, Score]:
    """Returns the scores of one variant and form by test."""
    result = {}
    for name in (name for name in _TESTS if name in group[0].rows[-1]):
        values = np.array([run.rows[-1][name] for run in group])
        result[name] = Score(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)
    return result
