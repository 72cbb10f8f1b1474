"""Planes, and their Gram matrices, for tests of eigensolvers."""

import numpy as np

from tests.conftest import smooth


def planes(side: int, count: int = 6, width: int | None = None) -> np.ndarray:
    """Returns uint8 (count, side, width): smooth planes, except one of noise, a flat and a black one."""
    rng = np.random.default_rng(side)
    images = np.stack([smooth(rng, side, width or side)[:, :, 0] for _ in range(count)])
    images[1] = rng.integers(0, 256, images[1].shape)
    images[2], images[3] = 77, 0
    return images


def gram(pixels: np.ndarray) -> np.ndarray:
    exact = pixels.astype(np.float64)
    product: np.ndarray = exact.swapaxes(1, 2) @ exact
    return product
