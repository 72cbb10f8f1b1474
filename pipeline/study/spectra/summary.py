"""The summary that the spectrum command prints."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.study.ranks import EVERY
from pipeline.study.spectra.spectrum import Spectrum
from pipeline.study.spectra.tables import SHARE, Twin, controls, curves, measures, saturation, shares


def summary(spectrum: Spectrum, twins: Sequence[Twin], at: int) -> str:
    """Returns accuracy and agreement at selected ranks, the rank of saturation, and controls and shares at rank ``at``."""
    lines = [f"{len(spectrum.images):,} images of {spectrum.images.origin}", *_curves(spectrum, at)]
    lines += [""] + [
        f"{name}: within 2 points of its full-rank accuracy from rank {saturation(spectrum, number)} on"
        for number, name in enumerate(spectrum.models)
    ]
    if len(spectrum.families) > 1:
        lines += [
            "",
            f"Accuracy of controls minus that of rank {at}, at equal mean squared error:",
            *_controls(spectrum, at),
        ]
    if twins:
        lines += ["", f"Gap to {twins[0].reference} at rank {at}:", *_shares(spectrum, list(twins), at)]
    elif len(spectrum.models) > 1:
        lines += [
            "",
            "These networks may differ in architecture as well as in training: their differences are no evidence of what",
            "adversarial training does. --twin ROBUST=NATURAL, with a natural network of one architecture, separates both.",
        ]
    return "\n".join(lines)


def _curves(spectrum: Spectrum, at: int) -> Iterator[str]:
    ranks = shown_ranks(spectrum.ranks, at)
    width = max(map(len, (*spectrum.models, *(f"{measure}, %" for measure in measures(spectrum)))))
    rows = {(row["model"], row["rank"]): row for row in curves(spectrum) if row["family"] == "rank"}
    for measure in measures(spectrum):
        yield f"\n{measure + ', %':{width}}" + "".join(f"{f'k = {k}':>8}" for k in ranks) + f"   95 % at k = {at}"
        for name in spectrum.models:
            cells = "".join(f"{100 * rows[name, k][measure]:8.1f}" for k in ranks)
            yield f"{name:{width}}{cells}   {_interval(rows[name, at], measure)}"


def shown_ranks(ranks: Sequence[int], at: int) -> list[int]:
    """Returns about ten of the ranks: every quarter, low ranks closer to each other, ``at`` and the image itself."""
    side = ranks[-1]
    wanted = (0, 1, 2, 3, 5, 10, 15, 20) if side <= EVERY else (0, 1, 3, 5, 10, 20, 40, side // 4, side // 2)
    nearest = {min(ranks, key=lambda rank: (abs(rank - k), rank)) for k in wanted if k < side}
    return sorted(nearest | {at, side})


def _interval(row: dict[str, Any], column: str) -> str:
    return f"{100 * row[f'{column} low']:.1f} to {100 * row[f'{column} high']:.1f}"


def _controls(spectrum: Spectrum, at: int) -> Iterator[str]:
    for row in controls(spectrum):
        if row["rank"] == at and row["images"]:
            points = f"{100 * row['accuracy']:+.1f} points ({_interval(row, 'accuracy')})"
            yield f"  {row['model']}, {row['family']}: {points}, {row['images']:,} images matched"


def _shares(spectrum: Spectrum, twins: list[Twin], at: int) -> Iterator[str]:
    for row in shares(spectrum, twins):
        if row["rank"] != at:
            continue
        parts = ", ".join(
            f"{name} {100 * row[name]:+.1f} ({_interval(row, name)})"
            for name in ("architecture", "adversarial training")
        )
        cause = "the gap is not different from zero"
        share = row[SHARE]
        if not np.isnan(share):
            parts_of_gap = f"{100 * share:.0f} % ({_interval(row, SHARE)}), training {100 - 100 * share:.0f} %"
            cause = f"architecture explains {parts_of_gap}"
        gap = f"{100 * row['gap']:+.1f} points ({_interval(row, 'gap')})"
        yield f"  {row['robust']}, {row['measure']}: {gap} = {parts}; {cause}"
