"""Tables of a rank spectrum: accuracies, agreements and differences with 95 % intervals."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from pipeline.study.distortion.matching import psnr
from pipeline.study.intervals import Interval, paired_difference, share, wilson
from pipeline.study.spectra.spectrum import Spectrum

MEASURES = ("accuracy", "agreement")  # agreement with the label, and with the prediction at full rank
TOP5 = "top-5 accuracy"

SHARE = "architecture's share"


class Twin(NamedTuple):
    """Names of a robust network, a naturally trained network of the same architecture, and one of another architecture."""

    robust: str
    natural: str
    reference: str


def measures(spectrum: Spectrum) -> tuple[str, ...]:
    """Returns the names of the measures: top-5 accuracy needs many classes."""
    return MEASURES if spectrum.top5 is None else (*MEASURES, TOP5)


def hits(spectrum: Spectrum, measure: str) -> np.ndarray:
    """Returns whether each prediction counts for a measure, bool (models, families, ranks, n)."""
    if measure == TOP5 and spectrum.top5 is not None:
        return spectrum.top5
    return spectrum.right if measure == "accuracy" else spectrum.agrees


def curves(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Yields accuracy and agreement of each network, family and rank, over the matched images.

    ``psnr`` is that of the mean error over these images.
    """
    measured = {measure: _over_matched(spectrum, measure) for measure in measures(spectrum)}
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families):
            for place, k in enumerate(spectrum.ranks):
                matched = spectrum.matched[f, place]
                row = {"model": model, "family": family, "rank": k, "images": int(matched.sum())}
                row["psnr"] = float(psnr(np.array(_mean(spectrum.error[f, place][matched]))))
                for measure, interval in measured.items():
                    row |= _columns(measure, interval, (m, f, place))
                yield row


def _over_matched(spectrum: Spectrum, measure: str) -> Interval:
    return wilson((hits(spectrum, measure) & spectrum.matched).sum(-1), spectrum.matched.sum(-1))


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def _columns(measure: str, interval: Interval, place: Any) -> dict[str, float]:
    value, low, high = (float(part[place]) for part in interval)
    return {measure: value, f"{measure} low": low, f"{measure} high": high}


def by_class(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Yields accuracy and agreement of each network at each rank, for the images of each class."""
    for label, name in enumerate(spectrum.images.classes):
        own = spectrum.images.labels == label
        if not own.any():
            continue
        measured = {
            measure: wilson(hits(spectrum, measure)[:, 0, :, own].sum(0), own.sum()) for measure in measures(spectrum)
        }
        for m, model in enumerate(spectrum.models):
            for place, k in enumerate(spectrum.ranks):
                row: dict[str, Any] = {"model": model, "class": name, "rank": k, "images": int(own.sum())}
                for measure, interval in measured.items():
                    row |= _columns(measure, interval, (m, place))
                yield row


def differences(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Yields the difference, first minus second, of every two networks at every rank, with Newcombe's paired interval."""
    for first, second in combinations(range(len(spectrum.models)), 2):
        measured = {
            measure: paired_difference(hits(spectrum, measure)[first, 0], hits(spectrum, measure)[second, 0])
            for measure in measures(spectrum)
        }
        for place, k in enumerate(spectrum.ranks):
            row: dict[str, Any] = {"first": spectrum.models[first], "second": spectrum.models[second], "rank": k}
            for measure, interval in measured.items():
                row |= _columns(measure, interval, place)
            yield row


def controls(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Yields the difference, control minus rank, of each network and control at equal error, over the matched images."""
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families[1:], 1):
            for place, k in enumerate(spectrum.ranks):
                matched = spectrum.matched[f, place]
                row: dict[str, Any] = {"model": model, "family": family, "rank": k, "images": int(matched.sum())}
                for measure in measures(spectrum):
                    right = hits(spectrum, measure)[m, :, place][:, matched]
                    empty = Interval(*(np.array(np.nan),) * 3)
                    row |= _columns(measure, paired_difference(right[f], right[0]) if matched.any() else empty, ())
                yield row


def shares(spectrum: Spectrum, twins: list[Twin]) -> Iterator[dict[str, Any]]:
    """Yields the gap of each robust network to the reference, divided into architecture and adversarial training.

    gap = robust - reference = (natural twin - reference) + (robust - natural twin), each with a paired interval. Shares are
    parts of the gap, and NaN if the gap is not different from zero.
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
            shares_of_gap = share(values[natural] - values[reference], values[robust] - values[reference])
            for place, k in enumerate(spectrum.ranks):
                row: dict[str, Any] = {**twin._asdict(), "measure": measure, "rank": k}
                for name, interval in parts.items():
                    row |= _columns(name, interval, place)
                row |= _columns(SHARE, shares_of_gap, place)
                yield row | {"adversarial training's share": 1 - row[SHARE]}


def predictions(spectrum: Spectrum) -> Iterator[dict[str, Any]]:
    """Yields the predicted class numbers: a row per network, family and image, a column per rank."""
    for m, model in enumerate(spectrum.models):
        for f, family in enumerate(spectrum.families):
            for i, key in enumerate(spectrum.images.keys):
                row = {"model": model, "family": family, "key": key, "label": int(spectrum.images.labels[i])}
                classes = zip(spectrum.ranks, spectrum.predictions[m, f, :, i].tolist(), strict=True)
                yield row | {f"rank {k}": c for k, c in classes}


def saturation(spectrum: Spectrum, model: int, within: float = 0.02) -> int:
    """Returns the lowest measured rank from which a network's accuracy stays within ``within`` of its full-rank accuracy."""
    accuracy = spectrum.right[model, 0].mean(-1)
    below = np.flatnonzero(accuracy < accuracy[-1] - within)
    return spectrum.ranks[int(below[-1]) + 1 if len(below) else 0]
