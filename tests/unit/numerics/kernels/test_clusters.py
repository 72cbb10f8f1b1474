"""Vectors of one cluster of eigenvalues may be equal although those between them are orthogonal to both."""

import numpy as np
import pytest
from scipy.linalg import block_diag

from pipeline.numerics import cpu
from pipeline.numerics.kernels.large import solve as large
from pipeline.numerics.kernels.small import solve as small
from tests.unit.numerics.planes import cuts_by_lapack

# Blocks of two columns, on the diagonal of a drawing. Eight of them share the singular value 151.78, and the last is bright.
BLOCKS = (
    "70 1 125 5 3 0 0 / 70 56 0 0 0 71 7",
    "49 49 1 130 9 4 1 1 0 0 0 0 0 0 / 49 1 22 0 0 0 0 0 123 8 3 2 1 1",
    "54 54 1 125 8 3 1 1 0 0 0 0 0 / 54 1 40 0 0 0 0 0 111 13 3 1 1",
    "68 1 126 13 4 2 1 1 1 0 0 0 0 / 68 66 0 0 0 0 0 0 0 68 7 2 1",
    "75 1 120 13 3 1 0 0 0 0 / 75 41 0 0 0 0 66 6 2 2",
    "59 1 133 10 3 1 1 0 0 0 0 / 59 31 0 0 0 0 0 107 11 1 1",
    "40 40 1 137 15 3 2 1 0 0 0 0 / 40 1 18 0 0 0 0 0 133 10 2 2",
    "64 64 1 112 14 3 2 0 0 / 64 1 24 0 0 0 0 99 14",
    "234 217 187 240 241 233 250 165 225 167 231 254 182 196 203 219 196 202 169 250 156 217 161 177 / "
    "0 6 10 24 0 220 2 0 0 0 67 0 0 0 177 150 0 0 241 0 0 241 44 235",
)


def drawing(more: int) -> np.ndarray:
    """Returns the drawing, uint8 (1, h, w), with more single pixels that continue the diagonal."""
    blocks = [np.array([column.split() for column in block.split("/")], int).T for block in BLOCKS] + [
        np.array([[level]]) for level in range(90, 90 - more, -1)
    ]
    plane: np.ndarray = block_diag(*blocks).astype(np.uint8)
    return plane[None]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("more", [0, 60])  # small and large planes
def test_equal_vectors_that_are_far_apart_in_a_cluster_are_noticed(more: int, wide: bool) -> None:
    """With four neighbours alone, ranks 10 to 17 had wrong bytes and errors of a hundred levels."""
    plane = drawing(more)
    plane = np.ascontiguousarray(plane.swapaxes(1, 2)) if wide else plane
    for rank in range(10, 18):
        found = cpu.solve(plane, (rank,), exact=True).truncated(rank).planes
        np.testing.assert_allclose(found, cuts_by_lapack(plane, rank), rtol=0, atol=1e-6)


def test_the_drawing_has_such_vectors() -> None:
    """Otherwise the test above would prove nothing."""
    solved = small.truncate_planes(drawing(0), (10,), 10)
    assert solved.vectors is not None
    products = np.abs(np.triu(solved.vectors[0].T @ solved.vectors[0], 1))
    i, j = np.unravel_index(products.argmax(), products.shape)
    assert products.max() > 0.99
    assert j - i > 4
    assert solved.skew[0, 8] <= 1e-8 < solved.skew[0, 9]


@pytest.mark.parametrize("kernels", [small, large])
def test_every_vector_is_compared_with_all_of_its_cluster(kernels: object) -> None:
    """Copies of one block: all eigenvalues are equal in exact arithmetic, and any vectors of a cluster may be alike."""
    side = 70 if kernels is large else 40
    plane = np.kron(np.eye(side // 2, dtype=np.uint8), np.array([[3, 1], [1, 2]], np.uint8))[None]
    solved = kernels.truncate_planes(plane, (side // 2,), side - 1)  # type: ignore[attr-defined]
    products = np.abs(np.triu(solved.vectors[0].T @ solved.vectors[0], 1))
    levels = np.sqrt(np.maximum(solved.eigenvalues[0, :-1], 1.0))[:, None]
    assert solved.skew[0, -1] >= (products * levels).max() * (1 - 1e-6) - 1e-9


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (80, 70)])
def test_a_plane_of_a_rank_below_the_cut_is_stored_as_it_is(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    plane = (rng.integers(0, 16, (1, shape[0], 3)) @ rng.integers(0, 6, (1, 3, shape[1]))).astype(np.uint8)
    for rank in (3, 4, 12, min(shape) - 1):
        truncation = cpu.solve(plane, (rank,), exact=True).truncated(rank)
        np.testing.assert_array_equal(truncation.rounded, plane)
        np.testing.assert_allclose(truncation.planes, plane, rtol=0, atol=1e-9)
        assert truncation.ties == 0
