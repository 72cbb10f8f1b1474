"""Small planes: every byte is that of float64 LAPACK, and depends on nothing but the plane and the rank."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.numerics import cpu
from pipeline.numerics.kernels.small.solve import truncate_planes
from tests.unit.numerics.planes import adversarial as planes_that_provoke_errors

GAP, TIE = 1e-9, 1e-5
SHORT = [
    (1, 1),
    (1, 7),
    (2, 2),
    (3, 3),
    (5, 4),
    (8, 8),
    (9, 16),
    (16, 9),
    (28, 28),
    (31, 33),
    (33, 64),
    (64, 64),
    (10, 1500),
]
LONG = [(n, n) for n in range(2, 65)] + [
    shape
    for n in (2, 3, 5, 8, 13, 16, 28, 31, 32, 33, 48, 63, 64)
    for m in (n + 1, n + 7, 2 * n, 100, 300)
    for shape in ((n, m), (m, n))
]


def adversarial(height: int, width: int) -> np.ndarray:
    """Returns uint8 (p, h, w): planes that provoke errors."""
    return np.stack(list(planes_that_provoke_errors(height, width).values())).astype(np.uint8)


def wrong_bytes(planes: np.ndarray, ranks: tuple[int, ...]) -> int:
    """Counts bytes that differ from ``numpy.linalg.svd``, outside of the contract's exceptions."""
    solution = cpu.solve(planes, ranks)
    left, sigma, right = np.linalg.svd(planes.astype(float), full_matrices=False)
    np.testing.assert_allclose(solution.values, sigma, atol=np.sqrt(sigma.shape[1] * 2.0**-52) * sigma.max())
    wrong = 0
    for rank in ranks:
        cut = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        rounded = np.rint(cut)
        tie = 0.5 - np.abs(cut - rounded) < TIE
        whole = sigma[:, rank] <= GAP * sigma[:, 0]
        rounded[whole], tie[whole] = planes[whole], False
        unique = whole | (sigma[:, rank - 1] - sigma[:, rank] > GAP * sigma[:, 0])
        wrong += int(((solution.truncated(rank).rounded != rounded) & ~tie & unique[:, None, None]).sum())
    return wrong


def ranks_of(shape: tuple[int, int]) -> tuple[int, ...]:
    n = min(shape)
    return tuple(sorted({rank for rank in (1, 2, 3, n // 4, n // 2, n - 1) if 0 < rank < n}))


@pytest.mark.parametrize("shape", SHORT, ids=str)
def test_every_byte_of_adversarial_planes(shape: tuple[int, int]) -> None:
    assert wrong_bytes(adversarial(*shape), ranks_of(shape)) == 0


@pytest.mark.full
@pytest.mark.parametrize("shape", LONG, ids=str)
def test_every_byte_of_adversarial_planes_of_all_sides(shape: tuple[int, int]) -> None:
    assert wrong_bytes(adversarial(*shape), ranks_of(shape)) == 0


@pytest.mark.parametrize("shape", [(32, 32), (13, 40), (40, 13), (3, 5)], ids=str)
def test_bits_depend_neither_on_the_batch_nor_on_ranks_or_vectors(shape: tuple[int, int]) -> None:
    planes = np.concatenate(
        [adversarial(*shape), np.random.default_rng(2).integers(0, 256, (8, *shape), dtype=np.uint8)]
    )
    ranks = ranks_of(shape)
    rank = ranks[-1]
    whole = truncate_planes(planes, ranks, min(shape), True)
    assert whole.planes is not None and whole.vectors is not None
    order = np.random.default_rng(1).permutation(len(planes))
    for part in (order, order[:1], order[5:8], order[3:14]):
        other = truncate_planes(np.ascontiguousarray(planes[part]), (rank,), rank, True)
        assert other.planes is not None and other.vectors is not None
        pairs = [
            (other.eigenvalues, whole.eigenvalues[part]),
            (other.residual, whole.residual[part, :rank]),
            (other.skew, whole.skew[part, :rank]),
            (other.rounded[0], whole.rounded[-1, part]),
            (other.planes[0], whole.planes[-1, part]),
            (other.margins[0], whole.margins[-1, part]),
            (other.near[0], whole.near[-1, part]),
            (other.vectors, whole.vectors[part, :, :rank]),
        ]
        for actual, expected in pairs:
            np.testing.assert_array_equal(actual, expected)


def test_the_fallback_of_a_rank_does_not_depend_on_the_other_ranks() -> None:
    planes = adversarial(32, 32)
    together = cpu.solve(planes, tuple(range(1, 32)), 31, True)
    for rank in (1, 5, 16, 31):
        alone, same = cpu.solve(planes, (rank,), exact=True).truncated(rank), together.truncated(rank)
        np.testing.assert_array_equal(alone.planes, same.planes)
        np.testing.assert_array_equal(alone.rounded, same.rounded)
        assert alone.counts == same.counts


def test_read_only_and_strided_pixels_are_accepted(cifar_planes: Callable[[int], np.ndarray]) -> None:
    planes = cifar_planes(4)
    frozen = planes[::2].copy()
    frozen.setflags(write=False)
    for pixels in (frozen, planes[::2]):
        np.testing.assert_array_equal(
            cpu.solve(pixels, (3,)).truncated(3).rounded, cpu.solve(planes, (3,)).truncated(3).rounded[::2]
        )


@pytest.mark.parametrize("ranks", [(3, 1), (2, 2), (0, 1), (1, 5)], ids=str)
def test_ranks_that_do_not_ascend_within_the_plane_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ranks"):
        cpu.solve(np.ones((1, 5, 7), np.uint8), ranks)
