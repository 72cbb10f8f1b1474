"""A V of eight planes, and their cuts at all ranks, rounded to whole grey levels, in one pass.

A_k = A V_k V_k^T (paper eq. 2) is the sum of the products s_j z_j^T, j < k, with s_j = A z_j. The sums of a block of
entries stay in registers from rank to rank, so each rank adds only its own vectors. An entry's sum has the same order
at every rank: the bits of a rank do not depend on the others.
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lanes import (
    LANES,
    absolute,
    any_lane,
    fma,
    larger,
    load,
    nearest,
    select,
    splat,
    store,
    store_int16,
)
from pipeline.numerics.kernels.small import odd
from pipeline.numerics.kernels.small.transfer import STRIP
from pipeline.numerics.solved import FAR


@step
def project(strip: Any, rows: int, n: int, vectors: Any, count: int, scaled: Any) -> None:
    """Computes A V of a strip, in blocks of two rows and two vectors.

    Args:
        strip: (rows, n) vectors of A.
        rows: number of rows.
        n: number of columns.
        vectors: (count, odd(n)) vectors of V.
        count: number of vectors of each plane.
        scaled: receives (count, odd(``STRIP``)) vectors.
    """
    for j in range(0, count, 2):
        j1 = min(j + 1, count - 1)
        for r in range(0, rows, 2):
            r1 = min(r + 1, rows - 1)
            s00 = s01 = s10 = s11 = splat(0.0)
            for c in range(n):
                a0, a1 = load(strip, (r * n + c) * LANES), load(strip, (r1 * n + c) * LANES)
                z0, z1 = load(vectors, (j * odd(n) + c) * LANES), load(vectors, (j1 * odd(n) + c) * LANES)
                s00, s01 = fma(a0, z0, s00), fma(a0, z1, s01)
                s10, s11 = fma(a1, z0, s10), fma(a1, z1, s11)
            store(scaled, (j * odd(STRIP) + r) * LANES, s00)
            store(scaled, (j1 * odd(STRIP) + r) * LANES, s01)
            store(scaled, (j * odd(STRIP) + r1) * LANES, s10)
            store(scaled, (j1 * odd(STRIP) + r1) * LANES, s11)


@step
def cut(scaled: Any, rows: int, n: int, vectors: Any, ranks: Any, rounded: Any, exact: Any, ties: Any) -> None:
    """Cuts a strip at all ranks, in blocks of two rows and two columns.

    Args:
        scaled: from ``project``.
        rows: number of rows.
        n: number of columns.
        vectors: as in ``project``.
        ranks: int64, ascending.
        rounded: int16, receives (ranks, ``STRIP``, n) vectors.
        exact: receives the same before rounding; not where its size is 0.
        ties: (ranks, 2) vectors: the largest distance to a whole number, and how many subpixels are beyond ``FAR``. They
            are updated.
    """
    for r in range(0, rows, 2):
        r1 = min(r + 1, rows - 1)
        for c in range(0, n, 2):
            c1 = min(c + 1, n - 1)
            s00 = s01 = s10 = s11 = splat(0.0)
            j = 0
            for k in range(ranks.size):
                while j < ranks[k]:
                    a0, a1 = load(scaled, (j * odd(STRIP) + r) * LANES), load(scaled, (j * odd(STRIP) + r1) * LANES)
                    z0, z1 = load(vectors, (j * odd(n) + c) * LANES), load(vectors, (j * odd(n) + c1) * LANES)
                    s00, s01 = fma(a0, z0, s00), fma(a0, z1, s01)
                    s10, s11 = fma(a1, z0, s10), fma(a1, z1, s11)
                    j += 1
                to, to1 = (k * STRIP + r) * n, (k * STRIP + r1) * n
                if exact.size:
                    store(exact, (to + c) * LANES, s00)
                    store(exact, (to + c1) * LANES, s01)
                    store(exact, (to1 + c) * LANES, s10)
                    store(exact, (to1 + c1) * LANES, s11)
                f00, f01 = _round(s00, rounded, to + c), _round(s01, rounded, to + c1)
                f10, f11 = _round(s10, rounded, to1 + c), _round(s11, rounded, to1 + c1)
                farthest = larger(larger(f00, f01), larger(f10, f11))
                at = 2 * k * LANES
                store(ties, at, larger(farthest, load(ties, at)))
                if any_lane(farthest > splat(FAR)):  # rare: the band around ties holds two of 100,000 numbers
                    near = _beyond(f00)
                    if c1 > c:
                        near = near + _beyond(f01)
                    if r1 > r:
                        near = near + _beyond(f10)
                    if c1 > c and r1 > r:
                        near = near + _beyond(f11)
                    store(ties, at + LANES, load(ties, at + LANES) + near)


@step
def _round(level: Any, rounded: Any, to: int) -> Any:
    """Writes the nearest whole numbers to a vector of ``rounded``. Returns the distances to them."""
    whole = nearest(level)
    store_int16(rounded, to * LANES, whole)
    return absolute(level - whole)


@step
def _beyond(distance: Any) -> Any:
    """Returns 1 where a distance to a whole number is beyond ``FAR``, else 0."""
    return select(distance > splat(FAR), splat(1.0), splat(0.0))
