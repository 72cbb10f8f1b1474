"""Runs the steps of this folder for a batch of planes."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics.jit import compiled
from pipeline.numerics.kernels import layout
from pipeline.numerics.kernels.eigenvalues import eigenvalues
from pipeline.numerics.kernels.lanes import LANES
from pipeline.numerics.kernels.large.back_transform import multiply_by_q
from pipeline.numerics.kernels.large.cut import cut
from pipeline.numerics.kernels.large.gram import gram
from pipeline.numerics.kernels.large.measures import measure
from pipeline.numerics.kernels.large.project import fill_strips, project, transpose_vectors
from pipeline.numerics.kernels.large.tridiagonal import reduce_to_tridiagonal, work_size
from pipeline.numerics.kernels.large.vectors import twisted_vectors
from pipeline.numerics.solved import Solved

# Memory for the reflectors of planes whose eigenvalues are computed side by side.
_GROUP_BYTES = 1 << 28


class _Shape(NamedTuple):
    """Sizes that the steps share.

    Attributes:
        height, width: of a plane.
        n, m: its smaller and its larger side.
        columns: number of vectors that are computed, a multiple of 8; it may exceed n.
        stride: from one row of a Gram matrix to the next.
    """

    height: int
    width: int
    n: int
    m: int
    columns: int
    stride: int


class _Reduced(NamedTuple):
    """A Gram matrix in tridiagonal form, G = Q T Q^T.

    Attributes:
        reflectors: float64 (n, stride) up to the next multiple of 8, flat; Q together with ``scales``.
        diagonal, beside: of T, float64 (n,).
        scales: float64 (n,).
    """

    reflectors: np.ndarray
    diagonal: np.ndarray
    beside: np.ndarray
    scales: np.ndarray


class _Workspace(NamedTuple):
    """Arrays that the steps of a plane share; each plane overwrites them.

    Attributes:
        vectors: (count / 8, n, 8), eigenvectors in lanes.
        vector_strips: (n / 8, count, 8), the same in strips.
        plane_strips: (m / 8, n, 8), the plane.
        projected: (m / 8, count, 8), its projection onto the vectors.
        residuals: (count,).
        work: for the steps one by one.
    """

    vectors: np.ndarray
    vector_strips: np.ndarray
    plane_strips: np.ndarray
    projected: np.ndarray
    residuals: np.ndarray
    work: np.ndarray


def truncate_planes(pixels: np.ndarray, ranks: tuple[int, ...], count: int = 0, exact: bool = False, /) -> Solved:
    """Decomposes planes and cuts them at several ranks (``solved.TruncatePlanes``); min(h, w) is at least 3."""
    p, height, width = pixels.shape
    n, m = sorted((height, width))
    computed = max([*ranks, count])
    shape = _Shape(height, width, n, m, layout.padded(computed), layout.stride(n))
    solved = Solved(
        eigenvalues=np.empty((p, n)),
        residual=np.empty((p, computed)),
        skew=np.empty((p, computed)),
        rounded=np.empty((len(ranks), p, height, width), np.int16),
        planes=np.empty((len(ranks), p, height, width)) if exact else None,
        margins=np.empty((len(ranks), p)),
        near=np.empty((len(ranks), p), np.int64),
        vectors=np.empty((p, n, count)) if count else None,
    )
    workspace = _workspace(shape, len(ranks))
    size = max(1, min(LANES, _GROUP_BYTES // (8 * layout.padded(n) * shape.stride)))
    for first in range(0, p, size):
        group = [_reduce(plane, shape, workspace) for plane in pixels[first : first + size]]
        solved.eigenvalues[first : first + size] = _eigenvalues(group)
        for plane, reduced in enumerate(group, first):
            if computed:
                _eigenvectors(reduced, shape, plane, solved, workspace)
            if ranks:
                _cut(pixels, shape, np.array(ranks, np.int64), plane, solved, workspace)
    return solved


def _workspace(shape: _Shape, ranks: int) -> _Workspace:
    _, _, n, m, count, stride = shape
    work = max(work_size(stride), 2 * n * LANES, 2 * ranks * LANES)
    sizes = (count * n, layout.padded(n) * count, layout.padded(m) * n, layout.padded(m) * count, count, work)
    return _Workspace(*map(layout.aligned, sizes))


def _reduce(plane: np.ndarray, shape: _Shape, workspace: _Workspace) -> _Reduced:
    """Returns the tridiagonal form of the Gram matrix of a plane."""
    n, stride = shape.n, shape.stride
    flat = layout.aligned(layout.padded(n) * stride)
    matrix = flat.reshape(-1, stride)
    gram(plane, matrix[:n, :n])
    matrix[:n, n : layout.padded(n)] = 0.0
    matrix[n:] = 0.0
    reduced = _Reduced(flat, *np.empty((3, n)))
    reduce_to_tridiagonal(flat, stride, reduced.diagonal, reduced.beside, reduced.scales, workspace.work)
    return reduced


def _eigenvalues(group: list[_Reduced]) -> np.ndarray:
    """Returns the eigenvalues of up to eight matrices, (size, n), descending. The last matrix fills the lanes left over."""
    lanes = group + group[-1:] * (LANES - len(group))
    diagonal, beside = (np.stack([part[i] for part in lanes], axis=1).reshape(-1) for i in (1, 2))
    n = len(group[0].diagonal)
    values, squares, state = np.empty(n * LANES), np.empty(n * LANES), np.empty(5 * LANES)
    _eigenvalues_in_lanes(diagonal, beside, n, values, squares, np.empty(LANES, np.int64), state)
    return values.reshape(n, LANES).T[: len(group)]


@compiled
def _eigenvalues_in_lanes(diagonal: Any, beside: Any, n: int, values: Any, squares: Any, ends: Any, state: Any) -> None:
    """Runs ``numerics.kernels.eigenvalues``, whose machine code is kept only as a part of a function like this."""
    eigenvalues(diagonal, beside, n, values, squares, ends, state)


def _eigenvectors(reduced: _Reduced, shape: _Shape, plane: int, solved: Solved, workspace: _Workspace) -> None:
    """Computes the leading eigenvectors of a plane's Gram matrix, and their errors."""
    n, count = shape.n, shape.columns
    vectors, strips, residuals = workspace.vectors, workspace.vector_strips, workspace.residuals
    values = np.zeros(n + LANES)
    values[:n] = solved.eigenvalues[plane]
    twisted_vectors(reduced.diagonal, reduced.beside, values, count, vectors, residuals, workspace.work)
    multiply_by_q(reduced.reflectors, reduced.scales, shape.stride, vectors, count, workspace.work)
    transpose_vectors(vectors, n, count, strips)
    measure(strips, n, count, values, residuals, solved.residual[plane], solved.skew[plane])
    if solved.vectors is not None:
        columns = strips.reshape(-1, count, LANES).transpose(0, 2, 1).reshape(-1, count)
        solved.vectors[plane] = columns[:n, : solved.vectors.shape[2]]


def _cut(
    pixels: np.ndarray, shape: _Shape, ranks: np.ndarray, plane: int, solved: Solved, workspace: _Workspace
) -> None:
    """Cuts a plane at all ranks with the vectors in the workspace."""
    height, width, n, m, count, _ = shape
    size = height * width
    vectors, strips, projected = workspace.vectors, workspace.vector_strips, workspace.projected
    fill_strips(pixels.reshape(-1), plane * size, height, width, workspace.plane_strips)
    project(workspace.plane_strips, n, m, vectors, count, projected)
    rows, columns = (strips, projected) if width > height else (projected, strips)
    rounded = solved.rounded.reshape(-1)
    exact = np.empty(0) if solved.planes is None else solved.planes.reshape(-1)
    margins, near = np.empty(len(ranks)), np.empty(len(ranks), np.int64)
    cut(
        rows, columns, height, width, count, ranks, rounded, exact, plane * size, len(pixels) * size, workspace.work,
        margins, near,
    )  # fmt: skip
    solved.margins[:, plane], solved.near[:, plane] = margins, near
