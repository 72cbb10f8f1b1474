"""Tables of attacks: how often they succeed, as rows for csv and as text."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.study.attacks.run import AUTO, DIRECT, TRANSFER, Attacked, Outcome
from pipeline.study.intervals import wilson
from pipeline.study.results.result_files import aligned

# The prediction after the attack is the target, the true class, or another class. The three shares add up to 1.
# AutoAttack has no target: every wrong class is a success.
SHARES = ("success", "recovery", "other")
ALL, RIGHT = "all", "right before"
_DESCRIPTIONS = {
    DIRECT: "made for it",
    TRANSFER: "made for the network alone",
    AUTO: "AutoAttack, any wrong class",
    "fixed": "adaptive, V_k held fixed (BPDA)",
    "exact": "adaptive, exact gradient",
}


def rows(attacked: Attacked) -> Iterator[dict[str, Any]]:
    """Yields two rows per outcome: for all images, and for the images that were classified correctly before.

    Shares have 95 % intervals. They are None if there are no such images.
    """
    labels = attacked.images.labels
    for outcome in attacked.outcomes:
        right = outcome.before == labels
        hits = _hits(outcome, attacked)
        for images, chosen in ((ALL, np.ones_like(right)), (RIGHT, right)):
            row: dict[str, Any] = {"model": outcome.model, "rank": outcome.rank, "attack": outcome.attack}
            row |= {
                "images": images,
                "count": int(chosen.sum()),
                "accuracy before": float(right[chosen].mean()) if chosen.any() else None,
            }
            for name in SHARES:
                interval = wilson((hits[name] & chosen).sum(), chosen.sum())
                value, low, high = (float(part) if chosen.any() else None for part in interval)
                row |= {name: value, f"{name} low": low, f"{name} high": high}
            yield row


def _hits(outcome: Outcome, attacked: Attacked) -> dict[str, np.ndarray]:
    recovery = outcome.after == attacked.images.labels
    success = ~recovery if outcome.attack == AUTO else outcome.after == attacked.targets
    return {"success": success, "recovery": recovery, "other": ~(success | recovery)}


def predictions(attacked: Attacked) -> Iterator[dict[str, Any]]:
    """Yields one row per image and outcome."""
    images = attacked.images
    for outcome in attacked.outcomes:
        columns = (images.keys, images.labels, attacked.targets, outcome.before, outcome.after)
        for key, label, target, before, after in zip(*columns, strict=True):
            row = {"key": key, "model": outcome.model, "rank": outcome.rank, "attack": outcome.attack}
            aim = None if outcome.attack == AUTO else target
            yield row | {"label": label, "target": aim, "before": before, "after": after}


def text(attacked: Attacked) -> str:
    """Returns the rows as a text table, in per cent."""
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
        lines.append((*labels(row), row["images"], f"{row['count']:,}", before, *cells))
    also = "; AutoAttack with the same eps" if attack.auto else ""
    caption = (
        f"Targeted L-infinity PGD, eps {255 * attack.eps:g}/255, {attack.steps} steps of {255 * attack.step_size:g}/255, "
        f"random start, seed {attack.seed}{also}; {len(attacked.images):,} images of {attacked.images.origin}. "
        "Per cent, with 95 % intervals (Wilson)."
    )
    return "\n".join([*aligned(lines, left=4), caption])


def labels(row: dict[str, Any]) -> tuple[str, str, str]:
    """Returns network, input and attack of a row in words."""
    return row["model"], "as it is" if row["rank"] is None else f"rank {row['rank']}", _DESCRIPTIONS[row["attack"]]
