"""Families of distortions with one parameter: SVD rank, and the controls blur, low-pass and noise."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from pipeline.numerics import svd
from pipeline.study.options import check_choice

RANK = "rank"
CONTROLS = ("lowpass", "blur", "jpeg", "noise")
FAMILIES = (RANK, *CONTROLS)


def parse_families(text: str) -> tuple[str, ...]:
    """Returns the names in a list such as ``blur,noise``, always with rank, which comes first. Raises UsageError."""
    names = dict.fromkeys(text.split(","))
    for name in names:
        check_choice("--family", name, FAMILIES)
    return (RANK, *(name for name in names if name != RANK))  # controls are matched to rank


def rank_images(pixels: np.ndarray, ranks: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields x_k at ascending ranks from 0 (black) to min(h, w) (the image itself): Algorithm 1 of the paper, with one
    decomposition.

    Args:
        pixels: uint8 (n, 3, h, w).
        ranks: ascending; None for every rank.

    Yields:
        float64 (n, 3, h, w), 255 A_k in grey levels, neither rounded nor clipped. Do not modify the array.
    """
    decomposed = svd.decompose(pixels.reshape(-1, *pixels.shape[2:]))
    planes, vectors, scaled = decomposed.planes, decomposed.vectors, decomposed.scaled
    height, width = planes.shape[1:]
    cut, before = np.zeros_like(planes), 0
    for k in _every(pixels) if ranks is None else ranks:
        if k == min(height, width):
            yield planes.reshape(pixels.shape)
        else:
            vector, scaled_vector = vectors[:, :, before:k], scaled[:, :, before:k]
            left, right = (scaled_vector, vector) if width <= height else (vector, scaled_vector)
            cut = cut + left @ right.swapaxes(1, 2)
            yield cut.reshape(pixels.shape)
        before = k


def stored_rank_images(pixels: np.ndarray, ranks: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields the same images rounded and clipped to 0..255, as the builder stores them in PNG files (docs/numerics.md)."""
    decomposed = svd.decompose(pixels.reshape(-1, *pixels.shape[2:]))
    for k in _every(pixels) if ranks is None else ranks:
        if k == 0:
            yield np.zeros(pixels.shape)
        elif k == min(pixels.shape[2:]):
            yield pixels.astype(np.float64)
        else:
            yield stored(svd.truncate(decomposed, k).planes).reshape(pixels.shape)


def _every(pixels: np.ndarray) -> range:
    return range(min(pixels.shape[2:]) + 1)


def stored(images: np.ndarray) -> np.ndarray:
    """Returns grey levels rounded and clipped to 0..255, as a PNG file stores them."""
    levels: np.ndarray = np.clip(np.rint(images), 0, 255)
    return levels


class Family(Protocol):
    """A distortion of a batch of images with one parameter per image. Larger parameters distort more.

    Attributes:
        low, high: range of the parameter; at ``low`` images hardly change.
    """

    low: float
    high: float

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        """Returns the distorted images, float64 (n, 3, h, w), grey levels, unclipped.

        Args:
            parameter: float64 (n,).
        """
        ...

    def error(self, parameter: np.ndarray) -> np.ndarray:
        """Returns the mean squared error of the distorted images, float64 (n, m), squared grey levels.

        Args:
            parameter: float64 (n, m), m parameters per image.
        """
        ...


class Blur:
    """Gaussian blur with mirrored borders. The parameter is log2 of sigma in pixels.

    It multiplies coefficient (u, v) of the cosine transform by exp(-(sigma pi)^2 (u^2/h^2 + v^2/w^2) / 2), the solution of
    the heat equation with reflecting borders. At ``high`` each channel is its mean.
    """

    low = -10.0

    def __init__(self, images: np.ndarray) -> None:
        height, width = images.shape[2:]
        self.high = float(np.log2(4 * max(height, width)))
        self._rows, self._columns = _cosines(height), _cosines(width)
        self._spectrum = self._rows @ images @ self._columns.T
        self._power = (self._spectrum**2).mean(1)

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        rows, columns = self._gains(parameter)
        spectrum = self._spectrum * rows[:, None, :, None] * columns[:, None, None, :]
        blurred: np.ndarray = self._rows.T @ spectrum @ self._columns
        return blurred

    def error(self, parameter: np.ndarray) -> np.ndarray:
        rows, columns = self._gains(parameter)  # (1 - rc)^2 = 1 - 2 rc + (rc)^2; the sum over r and c factors
        once = ((rows @ self._power) * columns).sum(-1)
        twice = ((rows**2 @ self._power) * columns**2).sum(-1)
        total = self._power.sum((1, 2))[:, None]
        mean: np.ndarray = (total - 2 * once + twice) / self._power[0].size
        return mean

    def _gains(self, parameter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        falls = (2.0**parameter * np.pi) ** 2 / 2
        sides = (np.arange(side) / side for side in self._power.shape[1:])
        rows, columns = (np.exp(-falls[..., None] * side**2) for side in sides)
        return rows, columns


def _cosines(side: int) -> np.ndarray:
    """Returns the orthonormal cosine transform (DCT-II), float64 (side, side)."""
    frequency, place = np.arange(side)[:, None], np.arange(side)[None, :]
    matrix: np.ndarray = np.cos(np.pi * frequency * (2 * place + 1) / (2 * side)) * np.sqrt(2 / side)
    matrix[0] /= np.sqrt(2)
    return matrix


class LowPass:
    """Ideal low-pass filter: keeps a centred disc of the Fourier transform. The parameter is the number of removed rings.

    A ring is all frequencies at one distance from the centre. The outermost rings are removed first. A fraction attenuates
    the next ring, so that the error changes continuously. At ``high`` the image is black.
    """

    low = 0.0

    def __init__(self, images: np.ndarray) -> None:
        height, width = images.shape[2:]
        self._spectrum = np.fft.fft2(images)
        squares = np.fft.fftfreq(height, 1 / height)[:, None] ** 2 + np.fft.fftfreq(width, 1 / width)[None, :] ** 2
        distances, ring = np.unique(np.rint(squares).astype(np.int64), return_inverse=True)
        self._place = len(distances) - 1 - ring.reshape(squares.shape)  # the outermost ring is 0
        self.high = float(len(distances))
        power = (np.abs(self._spectrum) ** 2).mean(1).reshape(len(images), -1) / squares.size**2
        self._power = np.stack([np.bincount(self._place.ravel(), row, len(distances)) for row in power])
        self._before = np.cumsum(self._power, axis=1) - self._power

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        removed = np.clip(parameter[:, None, None] - self._place, 0, 1)
        passed: np.ndarray = np.fft.ifft2(self._spectrum * (1 - removed)[:, None]).real
        return passed

    def error(self, parameter: np.ndarray) -> np.ndarray:
        whole = np.minimum(parameter.astype(np.int64), self._power.shape[1] - 1)
        before, ring = (np.take_along_axis(power, whole, axis=1) for power in (self._before, self._power))
        error: np.ndarray = before + (parameter - whole) ** 2 * ring
        return error


class Noise:
    """Gaussian white noise, with a fixed pattern per key. The parameter is log2 of its standard deviation in grey levels."""

    low = -12.0
    high = 9.0

    def __init__(self, images: np.ndarray, keys: list[str], seed: int = 0) -> None:
        self._images = images
        draws = [np.random.default_rng([seed, *key.encode()]).standard_normal(images.shape[1:]) for key in keys]
        self._pattern = np.stack(draws)

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        noisy: np.ndarray = self._images + 2.0 ** parameter[:, None, None, None] * self._pattern
        return noisy

    def error(self, parameter: np.ndarray) -> np.ndarray:
        error: np.ndarray = 4.0**parameter * (self._pattern**2).mean((1, 2, 3))[:, None]
        return error
