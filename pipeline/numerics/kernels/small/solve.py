"""Runs the steps of this folder for a batch of planes."""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled, step
from pipeline.numerics.kernels import layout
from pipeline.numerics.kernels.eigenvalues import eigenvalues
from pipeline.numerics.kernels.lanes import LANES
from pipeline.numerics.kernels.small import odd
from pipeline.numerics.kernels.small.cuts import cut, project
from pipeline.numerics.kernels.small.eigenvectors import eigenvectors
from pipeline.numerics.kernels.small.gram import add_gram, clear
from pipeline.numerics.kernels.small.householder import multiply_by_q, reduce
from pipeline.numerics.kernels.small.transfer import STRIP, read_strip, write_exact_strip, write_strip
from pipeline.numerics.solved import Solved


def truncate_planes(pixels: np.ndarray, ranks: tuple[int, ...], count: int = 0, exact: bool = False, /) -> Solved:
    """Decomposes planes and cuts them at several ranks (``solved.TruncatePlanes``); min(h, w) is at most 64."""
    p, height, width = pixels.shape
    n, length = min(height, width), max(height, width)
    computed = max([*ranks, count])
    padded = layout.padded(p)
    eigenvalues = np.empty((p, n))
    errors = np.empty((2, p, computed))
    rounded = np.empty((len(ranks), padded, height, width), np.int16)
    ties = np.empty((2, len(ranks), p))
    planes = np.empty((len(ranks), p, height, width) if exact else 0)
    vectors = np.empty((p, n, count))
    _solve(
        pixels.reshape(-1), (length, n, width > height), np.array(ranks, np.int64), computed, eigenvalues, errors,
        rounded.reshape(-1), ties, planes.reshape(-1), vectors, _workspace(n, len(ranks), computed, exact),
    )  # fmt: skip
    return Solved(
        eigenvalues,
        errors[0],
        errors[1],
        rounded[:, :p],
        planes if exact else None,
        0.5 - ties[0],
        ties[1].astype(np.int64),
        vectors if count else None,
    )


def _workspace(n: int, ranks: int, count: int, exact: bool) -> np.ndarray:
    """Returns workspace for ``_solve``, float64."""
    lanes = STRIP * n + n * n + 8 * n + count * (n + STRIP + 4) + 2 * ranks + 5 + ranks * STRIP * n * exact
    return layout.aligned(lanes * LANES + ranks * STRIP * n * LANES // 4)


@step
def _take(work: Any, used: int, vectors: int) -> Any:
    """Returns room for a number of vectors from ``used`` on, and where it ends."""
    return work[used : used + vectors * LANES], used + vectors * LANES


@compiled
def _solve(
    pixels: Any, shape: Any, ranks: Any, count: int, values: Any, errors: Any, rounded: Any, ties: Any, planes: Any,
    vectors: Any, work: Any,
) -> None:  # fmt: skip
    """Solves all planes, eight at a time. The last group repeats its last plane in the lanes that are left.

    Args:
        pixels: uint8, flat planes.
        shape: (l, n, wide), see ``transfer``.
        ranks: int64.
        count: number of vectors that are computed.
        values, errors, rounded, ties, planes, vectors: receive the parts of ``Solved``.
        work: from ``_workspace``.
    """
    length, n, _ = shape
    p, exact = len(values), planes.size > 0
    strip, used = _take(work, 0, STRIP * n)
    gram, used = _take(work, used, n * n)
    diagonal, used = _take(work, used, n)
    beside, used = _take(work, used, n)
    scales, used = _take(work, used, n)
    descending, used = _take(work, used, n)
    room0, used = _take(work, used, n)
    room1, used = _take(work, used, n)
    room2, used = _take(work, used, n)
    pairs, used = _take(work, used, n)
    state, used = _take(work, used, 5)
    z, used = _take(work, used, count * odd(n))
    scaled, used = _take(work, used, count * odd(STRIP))
    measures, used = _take(work, used, 2 * count)
    distances, used = _take(work, used, 2 * ranks.size)
    levels, used = _take(work, used, ranks.size * STRIP * n if exact else 0)
    whole = work[used : used + ranks.size * STRIP * n * LANES // 4].view(np.int16)
    starts, ends = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    size, padded = length * n, (p + LANES - 1) // LANES * LANES
    for first in range(0, p, LANES):
        lanes = min(LANES, p - first)
        for k in range(LANES):
            starts[k] = (first + min(k, lanes - 1)) * size
        clear(gram, n * n)
        for row in range(0, length, STRIP):
            rows = min(STRIP, length - row)
            read_strip(pixels, starts, shape, row, rows, strip)
            add_gram(strip, rows, n, gram)
        reduce(gram, n, diagonal, beside, scales, room0, room1, room2)
        eigenvalues(diagonal, beside, n, descending, room0, ends, state)
        eigenvectors(diagonal, beside, n, descending, count, z, room0, room1, measures)
        multiply_by_q(gram, scales, n, z, count, pairs)
        clear(distances, 2 * ranks.size)
        for row in range(0, length if ranks.size else 0, STRIP):
            rows = min(STRIP, length - row)
            if length > STRIP:
                read_strip(pixels, starts, shape, row, rows, strip)
            project(strip, rows, n, z, ranks[-1], scaled)
            cut(scaled, rows, n, z, ranks, whole, levels, distances)
            for i in range(ranks.size):
                at, block = (i * padded + first) * size, i * STRIP * n * LANES
                write_strip(whole[block:], shape, row, rows, lanes, rounded, at)
                if exact:
                    write_exact_strip(levels[block:], shape, row, rows, lanes, planes, (i * p + first) * size)
        for k in range(lanes):
            plane = first + k
            for i in range(n):
                values[plane, i] = descending[i * LANES + k]
            for j in range(count):
                errors[0, plane, j] = measures[2 * j * LANES + k]
                errors[1, plane, j] = measures[(2 * j + 1) * LANES + k]
            for i in range(ranks.size):
                ties[0, i, plane] = distances[2 * i * LANES + k]
                ties[1, i, plane] = distances[(2 * i + 1) * LANES + k]
            for j in range(vectors.shape[2]):
                for i in range(n):
                    vectors[plane, i, j] = z[(j * odd(n) + i) * LANES + k]
