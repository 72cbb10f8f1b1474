"""Counts and sums of the pixels of a variant."""

from dataclasses import dataclass
from typing import Any

# Sums over float32 images are whole multiples of this, so that they add up to the same total in any order.
FINE = 2.0**-16


@dataclass(frozen=True)
class Statistics:
    """Counts and sums of one variant. They add up over batches and shards.

    Attributes:
        clipped: subpixels that were outside of 0..255 and were clipped.
        ties, degenerate, deficient, recomputed: see ``svd.Truncation``; for a band, the sum of those of its two ends.
        sums: sum over pixels of each channel's stored grey level, in units of ``FINE`` for exact variants.
        squares: the same of its square. Together they give mean and deviation.
    """

    clipped: int = 0
    ties: int = 0
    degenerate: int = 0
    deficient: int = 0
    recomputed: int = 0
    sums: tuple[int, ...] = (0, 0, 0)  # one number where the pixels have one channel
    squares: tuple[int, ...] = (0, 0, 0)

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(*map(_plus, vars(self).values(), vars(other).values()))


def _plus(left: Any, right: Any) -> Any:
    """Adds two numbers, or two tuples element by element."""
    return tuple(a + b for a, b in zip(left, right, strict=True)) if isinstance(left, tuple) else left + right
