"""How often attacks succeed: rows for csv, and for people."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.study.attacks.run import DIRECT, TRANSFER, Attacked, Outcome
from pipeline.study.intervals import wilson

# What is predicted after the attack: the target, the true class, or neither. They add up to 1.
SHARES = ("success", "recovery", "other")
ALL, RIGHT = "all", "right before"
_SHOWN_TO = {
    DIRECT: "made for it",
    TRANSFER: "made for the network alone",
    "fixed": "adaptive, V_k held fixed (BPDA)",
    "exact": "adaptive, exact gradient",
}


def rows(attacked: Attacked) -> Iterator[dict[str, Any]]:
    """Two rows an outcome, of all images and of those that the classifier got right before; shares with 95 % intervals, None
    where there are no such images."""
    labels = attacked.images.labels
    for one in attacked.outcomes:
        right = one.before == labels
        hits = _hits(one, attacked)
        for images, chosen in ((ALL, np.ones_like(right)), (RIGHT, right)):
            row: dict[str, Any] = {"model": one.model, "rank": one.rank, "attack": one.attack, "images": images}
            row |= {
                "count": int(chosen.sum()),
                "accuracy before": float(right[chosen].mean()) if chosen.any() else None,
            }
            for name in SHARES:
                interval = wilson((hits[name] & chosen).sum(), chosen.sum())
                value, low, high = (float(part) if chosen.any() else None for part in interval)
                row |= {name: value, f"{name} low": low, f"{name} high": high}
            yield row


def _hits(one: Outcome, attacked: Attacked) -> dict[str, np.ndarray]:
    success, recovery = one.after == attacked.targets, one.after == attacked.images.labels
    return {"success": success, "recovery": recovery, "other": ~(success | recovery)}


def predictions(attacked: Attacked) -> Iterator[dict[str, Any]]:
    """A row an image and outcome."""
    images = attacked.images
    for one in attacked.outcomes:
        columns = (images.keys, images.labels, attacked.targets, one.before, one.after)
        for key, label, target, before, after in zip(*columns, strict=True):
            row = {"key": key, "model": one.model, "rank": one.rank, "attack": one.attack}
            yield row | {"label": label, "target": target, "before": before, "after": after}


def text(attacked: Attacked) -> str:
    """The rows as a table, in per cent."""
    attack = attacked.attack
    lines = [("network", "input", "attack", "images", "count", "accuracy before", *SHARES)]
    for row in rows(attacked):
        cells = [
            f"{100 * row[name]:.1f} ({100 * row[f'{name} low']:.1f} to {100 * row[f'{name} high']:.1f})"
            if row["count"]
            else "-"
            for name in SHARES
        ]
        before = f"{100 * row['accuracy before']:.1f}" if row["images"] == ALL else ""
        lines.append((*names(row), row["images"], f"{row['count']:,}", before, *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pads = [str.ljust] * 4 + [str.rjust] * 5
    table = [
        "  ".join(pad(*cell) for pad, cell in zip(pads, zip(line, widths, strict=True), strict=True)) for line in lines
    ]
    about = (
        f"Targeted L-infinity PGD, eps {255 * attack.eps:g}/255, {attack.steps} steps of {255 * attack.step_size:g}/255, "
        f"random start, seed {attack.seed}; {len(attacked.images):,} images of {attacked.images.origin}. "
        "Per cent, with 95 % intervals (Wilson)."
    )
    return "\n".join([*table, about])


def names(row: dict[str, Any]) -> tuple[str, str, str]:
    """Network, input and attack of a row, in words."""
    return row["model"], "as it is" if row["rank"] is None else f"rank {row['rank']}", _SHOWN_TO[row["attack"]]
