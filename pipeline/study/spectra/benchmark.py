"""Scores networks on distorted images, relative to a reference network.

The scores follow the corruption error of Hendrycks and Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations" (2019): the error over all severities of a distortion, divided by that of a reference
network, and the mean of these ratios over the distortions. A severity is a rank. Blur, noise and JPEG have, for each image,
the mean squared error of that rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.study.intervals import Interval
from pipeline.study.spectra.spectrum import Spectrum

FAMILIES = ("rank", "blur", "noise", "jpeg")
CLEAN, LOW, HIGH, MEAN = "clean", "low ranks", "high ranks", "mean"
DISTORTIONS = (LOW, HIGH, "blur", "noise", "jpeg")
_RESAMPLES = 2000
_LOW = (1, 2, 3, 4, 5)  # ranks of images of 32 pixels; larger images have proportionally larger ranks
_HIGH = (6, 8, 10, 15, 20)


@dataclass(frozen=True)
class Severities:
    """The ranks of a benchmark, ascending. ``high`` begins above ``low``, and ends below the smaller side of the images."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    @classmethod
    def of(cls, side: int) -> "Severities":
        """Returns the default ranks for images with a smaller side of ``side`` pixels: 1 to 5 and 6 to 20 of 32."""
        low = {max(1, side * rank // 32) for rank in _LOW}
        return cls(tuple(sorted(low)), tuple(sorted({max(1, side * rank // 32) for rank in _HIGH} - low)))


@dataclass(frozen=True)
class Scores:
    """The scores of every network, with 95 % intervals by a bootstrap over the images.

    Attributes:
        models: names of the networks.
        reference: the network to which errors are relative.
        rows: ``CLEAN``, the names of ``DISTORTIONS``, ``MEAN``.
        judged: number of pairs of an image and a severity behind each row but ``MEAN``: images that a control could
            match.
        accuracy: shares from 0 to 1, arrays (rows, models).
        error: errors relative to the reference's, arrays (rows, models). NaN where the reference makes no error.
    """

    models: list[str]
    reference: str
    rows: tuple[str, ...]
    judged: tuple[int, ...]
    accuracy: Interval
    error: Interval

    def table(self) -> Iterator[dict[str, Any]]:
        """Yields a row per network and distortion."""
        for m, model in enumerate(self.models):
            for r, name in enumerate(self.rows):
                row: dict[str, Any] = {"network": model, "distortion": name}
                row["judged"] = None if name == MEAN else self.judged[r]
                for measure, interval in (("accuracy", self.accuracy), ("relative error", self.error)):
                    value, low, high = (float(part[r, m]) for part in interval)
                    row |= {measure: value, f"{measure} low": low, f"{measure} high": high}
                yield row


def score(spectrum: Spectrum, severities: Severities, reference: str, seed: int = 0) -> Scores:
    """Returns the scores of the networks of a spectrum of ``FAMILIES`` at the ranks of ``severities``.

    Args:
        seed: of the bootstrap. All rows have the same resamples, so the mean's interval regards what they have in common.
    """
    count = len(spectrum.images)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES).T.astype(np.float64)
    place = spectrum.models.index(reference)
    accuracies, errors, judged = [], [], []
    for families, ranks in _rows(severities, spectrum.ranks[-1]):
        right, total = _counts(spectrum, families, ranks)
        judged.append(int(total.sum()))
        accuracies.append(_with_resamples(right, total, draws))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (1 - accuracies[-1]) / (1 - accuracies[-1][place])
        errors.append(np.where(np.isfinite(ratio), ratio, np.nan))
    accuracies.append(_mean(accuracies[1:]))
    errors.append(_mean(errors[1:]))
    rows = (CLEAN, *DISTORTIONS, MEAN)
    return Scores(spectrum.models, reference, rows, tuple(judged), _interval(accuracies), _interval(errors))


def _rows(severities: Severities, side: int) -> Iterator[tuple[str, Sequence[int]]]:
    yield "rank", (side,)
    yield "rank", severities.low
    yield "rank", severities.high
    for family in FAMILIES[1:]:
        yield family, (*severities.low, *severities.high)


def _counts(spectrum: Spectrum, family: str, ranks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each image how often each network is right, (models, n), of how many severities that count, (n,)."""
    places, f = [spectrum.ranks.index(rank) for rank in ranks], spectrum.families.index(family)
    matched = spectrum.matched[f, places]
    return (spectrum.right[:, f, places] & matched).sum(1), matched.sum(0)


def _with_resamples(right: np.ndarray, total: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns accuracies (models, 1 + resamples): of all images, then of each resample."""
    every = np.concatenate([np.ones((len(total), 1)), draws], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy: np.ndarray = (right @ every) / (total @ every)
    return accuracy


def _mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean over the distortions that have a value."""
    stacked = np.stack(rows)
    used = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(used, stacked, 0).sum(0) / used.sum(0)
    return mean


def _interval(rows: Sequence[np.ndarray]) -> Interval:
    stacked = np.stack(rows)
    value, resampled = stacked[..., 0], stacked[..., 1:]
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    for place in np.argwhere(np.isfinite(value)):
        low[*place], high[*place] = np.nanquantile(resampled[*place], (0.025, 0.975))
    return Interval(value, low, high)
