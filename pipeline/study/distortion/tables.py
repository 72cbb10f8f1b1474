"""The numbers of a rank spectrum with their 95 % intervals, as rows of tables."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from pipeline.study.distortion.match import psnr
from pipeline.study.distortion.spectrum import Spectrum
from pipeline.study.intervals import Interval, paired_difference, share, wilson

MEASURES = ("accuracy", "agreement")  # with the label, and with the prediction at full rank

SHARE = "architecture's share"


class Twin(NamedTuple):
    """A robust network, a naturally trained one of its architecture, and a natural network of another, by name."""

    robust: str
    natural: str
    reference: str


def hits(spectrum: Spectrum, measure: str) -> np.ndarray:
    """bool (models, families, ranks, n) of a measure."""
    return spectrum.right if measure == "accuracy" else spectrum.agrees


def curves(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Accuracy and agreement of each network, family and rank, over the images whose distortion is matched.

    PSNR is the decibels of the mean error over these images.
    """
    measured = [_over_matched(spectrum, measure) for measure in MEASURES]
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families):
            for k in range(spectrum.error.shape[1]):
                row = {"model": model, "family": family, "rank": k, "images": int(spectrum.matched[f, k].sum())}
                row["psnr"] = float(psnr(np.array(_mean(spectrum.error[f, k][spectrum.matched[f, k]]))))
                for measure, interval in zip(MEASURES, measured, strict=True):
                    row |= _columns(measure, interval, (m, f, k))
                yield row


def _over_matched(spectrum: Spectrum, measure: str) -> Interval:
    return wilson((hits(spectrum, measure) & spectrum.matched).sum(-1), spectrum.matched.sum(-1))


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def _columns(measure: str, interval: Interval, place: Any) -> dict[str, float]:
    value, low, high = (float(part[place]) for part in interval)
    return {measure: value, f"{measure} low": low, f"{measure} high": high}


def by_class(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """The same of rank, for the images of each class."""
    for label, name in enumerate(spectrum.images.classes):
        own = spectrum.images.labels == label
        if not own.any():
            continue
        measured = [wilson(hits(spectrum, measure)[:, 0, :, own].sum(0), own.sum()) for measure in MEASURES]
        for m, model in enumerate(spectrum.models):
            for k in range(spectrum.error.shape[1]):
                row: dict[str, Any] = {"model": model, "class": name, "rank": k, "images": int(own.sum())}
                for measure, interval in zip(MEASURES, measured, strict=True):
                    row |= _columns(measure, interval, (m, k))
                yield row


def differences(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Of every two networks at every rank, over the same images: first less second, by Newcombe's paired interval."""
    for one, two in combinations(range(len(spectrum.models)), 2):
        pairs = [(hits(spectrum, measure)[one, 0], hits(spectrum, measure)[two, 0]) for measure in MEASURES]
        measured = [paired_difference(*pair) for pair in pairs]
        for k in range(spectrum.error.shape[1]):
            row: dict[str, Any] = {"first": spectrum.models[one], "second": spectrum.models[two], "rank": k}
            for measure, interval in zip(MEASURES, measured, strict=True):
                row |= _columns(measure, interval, k)
            yield row


def controls(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Each control less rank at equal distortion, over the same matched images, for each network."""
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families[1:], 1):
            for k in range(spectrum.error.shape[1]):
                kept = spectrum.matched[f, k]
                row: dict[str, Any] = {"model": model, "family": family, "rank": k, "images": int(kept.sum())}
                for measure in MEASURES:
                    right = hits(spectrum, measure)[m, :, k][:, kept]
                    nothing = Interval(*(np.array(np.nan),) * 3)
                    row |= _columns(measure, paired_difference(right[f], right[0]) if kept.any() else nothing, ())
                yield row


def shares(spectrum: Spectrum, twins: list[Twin]) -> Iterator[dict[str, Any]]:
    """What of a robust network's gap to the reference its architecture explains, and what adversarial training.

    gap = robust - reference = (natural twin - reference) + (robust - natural twin), each by paired intervals; shares are
    parts of the gap, empty where it is no different from zero.
    """
    for twin in twins:
        robust, natural, reference = (spectrum.models.index(name) for name in twin)
        for measure in MEASURES:
            right = hits(spectrum, measure)[:, 0]
            parts = {
                "gap": paired_difference(right[robust], right[reference]),
                "architecture": paired_difference(right[natural], right[reference]),
                "adversarial training": paired_difference(right[robust], right[natural]),
            }
            values = right.astype(np.int8)
            of = share(values[natural] - values[reference], values[robust] - values[reference])
            for k in range(spectrum.error.shape[1]):
                row: dict[str, Any] = {**twin._asdict(), "measure": measure, "rank": k}
                for name, interval in parts.items():
                    row |= _columns(name, interval, k)
                row |= _columns(SHARE, of, k)
                yield row | {"adversarial training's share": 1 - row[SHARE]}


def predictions(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Classes by number, a row for each network, family and image, a column for each rank."""
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families):
            for i, key in enumerate(spectrum.images.keys):
                row = {"model": model, "family": family, "key": key, "label": int(spectrum.images.labels[i])}
                yield row | {f"rank {k}": int(c) for k, c in enumerate(spectrum.predictions[m, f, :, i])}


def saturation(spectrum: Spectrum, model: int, within: float = 0.02) -> int:
    """The rank from which on a network's accuracy stays within ``within`` of that at full rank."""
    accuracy = spectrum.right[model, 0].mean(-1)
    far = np.flatnonzero(accuracy < accuracy[-1] - within)
    return int(far[-1]) + 1 if len(far) else 0
