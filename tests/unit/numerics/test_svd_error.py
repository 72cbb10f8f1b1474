"""Promise of docs/numerics.md: where LAPACK does not recompute a plane, A_k is within 1.1e-7 grey levels of LAPACK's."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.numerics import svd

# A tenth of the contract's 1e-5 around a tie. The largest error that was measured is a tenth of this again.
ALLOWED = 1e-6
Make = Callable[[np.random.Generator, int, int], np.ndarray]


def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[:size, :size][0], np.mgrid[:size, :size][1]


def _noise(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return rng.integers(0, 256, (count, size, size))


def _nearly_flat(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return 255 - rng.integers(0, 3, (count, size, size))


def _waves(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    y, x = _axes(size)
    return 250 + 5 * np.sin(x * rng.random((count, 1, 1)) + y * rng.random((count, 1, 1)))


def _smooth(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    y, x = _axes(size)
    surface = np.sin(x * rng.random((count, 1, 1))) * np.cos(y * rng.random((count, 1, 1)))
    return np.clip(128 + 100 * surface + rng.normal(0, 1, (count, size, size)), 0, 255)


def _symmetric(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    image = rng.integers(0, 256, (count, size, size))
    image[:, :, size // 2 :] = image[:, ::-1, : size // 2]
    return image


def _wide(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return rng.integers(0, 256, (count, size, size + size // 3))


@pytest.mark.parametrize("make", [_noise, _nearly_flat, _waves, _smooth, _symmetric, _wide])
@pytest.mark.parametrize(("size", "count"), [(32, 90), (64, 30), pytest.param(224, 24, marks=pytest.mark.full)])
def test_the_gram_route_is_accurate_where_it_is_used(make: Make, size: int, count: int) -> None:
    planes = make(np.random.default_rng(size), count, size).astype(np.uint8)
    left, sigma, right = np.linalg.svd(planes.astype(np.float64), full_matrices=False)
    decomposed = svd.decompose(planes)
    for rank in (1, 2, 3, 5, 10, size // 2, size - 2, size - 1):
        exact = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        error = np.abs(svd.truncate(decomposed, rank).planes - exact).max(axis=(1, 2))
        # Elsewhere A_k is not unique, or rounds to the image by any route.
        unique = (sigma[:, rank - 1] - sigma[:, rank] > svd.GAP * sigma[:, 0]) & (sigma[:, rank] > svd.NEGLIGIBLE)
        assert error[unique].max(initial=0) < ALLOWED
