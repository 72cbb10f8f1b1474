"""Cuts a plane at all ranks in one pass: A_k rounded to whole grey levels, with the distance to rounding ties.

A_k = A V_k V_k^T (paper eq. 2) is the sum of the products of column j of A V and row j of V^T, j < k; of a wide plane, of
U and U^T A. The sums of four rows and eight columns stay in registers from rank to rank, so each rank adds only its own
products. Each sum has the same order at every rank: the bits of a rank do not depend on the other ranks.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels.lanes import (
    LANES,
    absolute,
    any_lane,
    fma,
    lane,
    larger,
    load,
    nearest,
    select,
    splat,
    spread,
    store,
    store_int16,
    total,
)
from pipeline.numerics.solved import FAR


@step
def _store(
    levels: Any, rows: int, columns: int, rounded: Any, exact: Any, to: int, width: int, ties: Any, at: int
) -> None:
    """Stores the pixels of a block, and updates the plane's distances to ties.

    Args:
        levels: float64 (4, 8), grey levels before rounding; zero beyond the end of a row.
        rows, columns: pixels that are left in the plane, from the block's first on.
        rounded, exact: receive the pixels; ``exact`` only where it is not empty.
        to: index of the first pixel.
        width: from one row to the next.
        ties: per rank a vector of the largest distances to a whole number, and one of the numbers of pixels beyond ``FAR``.
        at: index of the rank's first vector in ``ties``.
    """
    far, farthest = splat(FAR), load(ties, at)
    for i in range(min(rows, 4)):
        level = load(levels, i * LANES)
        whole = nearest(level)
        if columns >= LANES:
            store_int16(rounded, to, whole)
            if exact.size:
                store(exact, to, level)
        else:
            for k in range(columns):
                rounded[to + k] = int(lane(whole, k))
                if exact.size:
                    exact[to + k] = lane(level, k)
        distance = absolute(level - whole)
        farthest = larger(distance, farthest)
        if any_lane(distance > far):  # rare: the band around ties holds two of 100,000 numbers
            beyond = select(distance > far, splat(1.0), splat(0.0))
            store(ties, at + LANES, load(ties, at + LANES) + beyond)
        to += width
    store(ties, at, farthest)


@compiled
def cut(
    rows: Any, columns: Any, height: int, width: int, count: int, ranks: Any, rounded: Any, exact: Any, first: int,
    step: int, ties: Any, margins: Any, near: Any,
) -> None:  # fmt: skip
    """Cuts one plane.

    Args:
        rows: float64 (height / 8, count, 8), strips of A V, or of U.
        columns: float64 (width / 8, count, 8), strips of V, or of A^T U; zero beyond ``width``.
        height, width: of the plane.
        count: number of vectors in the strips.
        ranks: int64, ascending.
        rounded: int16, flat; receives the cuts.
        exact: float64, flat; receives the cuts before rounding. It may be empty.
        first: index of the plane's first pixel at the first rank.
        step: from one rank to the next.
        ties: workspace, float64 (ranks, 2, 8).
        margins: float64 (ranks,); receives the smallest distance to a tie.
        near: int64 (ranks,); receives the number of pixels closer than ``TIE`` to a tie.
    """
    levels = np.empty(4 * LANES)
    for k in range(2 * ranks.size):
        store(ties, k * LANES, splat(0.0))
    for r in range(0, height, 4):
        row = (r // LANES * count) * LANES + (r & 7)
        for c in range(0, width, LANES):
            column = c * count
            a0 = a1 = a2 = a3 = splat(0.0)
            j = 0
            for k in range(ranks.size):
                while j < ranks[k]:
                    right = load(columns, column + j * LANES)
                    left = row + j * LANES
                    a0 = fma(spread(rows, left), right, a0)
                    a1 = fma(spread(rows, left + 1), right, a1)
                    a2 = fma(spread(rows, left + 2), right, a2)
                    a3 = fma(spread(rows, left + 3), right, a3)
                    j += 1
                store(levels, 0, a0)
                store(levels, LANES, a1)
                store(levels, 2 * LANES, a2)
                store(levels, 3 * LANES, a3)
                to = first + k * step + r * width + c
                _store(levels, height - r, width - c, rounded, exact, to, width, ties, 2 * k * LANES)
    for k in range(ranks.size):
        farthest = 0.0
        for i in range(LANES):
            farthest = max(farthest, ties[2 * k * LANES + i])
        margins[k] = 0.5 - farthest
        near[k] = int(total(load(ties, (2 * k + 1) * LANES)))
