"""Ways to distort images by a parameter: SVD rank, and the controls at the same distortion (blur, low-pass, noise)."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from pipeline.errors import UsageError, nearest
from pipeline.numerics import svd

RANK = "rank"
CONTROLS = ("lowpass", "blur", "jpeg", "noise")
FAMILIES = (RANK, *CONTROLS)


def families(text: str) -> tuple[str, ...]:
    """``rank,blur`` as names, rank first. Raises UsageError."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FAMILIES:
            raise UsageError(f"--family: {name!r} is not one of {', '.join(FAMILIES)}{nearest(name, FAMILIES)}")
    return (RANK, *(name for name in names if name != RANK))  # every control is matched to it


def rank_images(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """x_k for k = 0 (black) to min(h, w) (the image itself), by Algorithm 1 of the paper with one decomposition.

    Args:
        pixels: uint8 (n, 3, h, w).

    Yields:
        float64 (n, 3, h, w), 255 A_k in grey levels, neither rounded nor clipped. Do not change it.
    """
    decomposed = svd.decompose(pixels.reshape(-1, *pixels.shape[2:]))
    planes, vectors, scaled = decomposed.planes, decomposed.vectors, decomposed.scaled
    height, width = planes.shape[1:]
    cut = np.zeros_like(planes)
    yield cut.reshape(pixels.shape)
    for k in range(1, min(height, width)):
        vector, other = vectors[:, :, k - 1 : k], scaled[:, :, k - 1 : k]
        cut = cut + (other @ vector.swapaxes(1, 2) if width <= height else vector @ other.swapaxes(1, 2))
        yield cut.reshape(pixels.shape)
    yield planes.reshape(pixels.shape)


def stored_rank_images(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The same as the builder stores them in PNG files: rounded, clipped to 0..255 (docs/numerics.md)."""
    decomposed = svd.decompose(pixels.reshape(-1, *pixels.shape[2:]))
    yield np.zeros(pixels.shape)
    for k in range(1, min(pixels.shape[2:])):
        yield stored(svd.truncate(decomposed, k).planes).reshape(pixels.shape)
    yield pixels.astype(np.float64)


def stored(images: np.ndarray) -> np.ndarray:
    """Grey levels as a PNG file holds them."""
    levels: np.ndarray = np.clip(np.rint(images), 0, 255)
    return levels


class Family(Protocol):
    """A distortion of a batch of images, one parameter per image; larger parameters distort more.

    Attributes:
        low, high: the parameter's range; ``low`` changes next to nothing.
    """

    low: float
    high: float

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        """The distorted images, float64 (n, 3, h, w), grey levels, unclipped, for ``parameter``, float64 (n,)."""
        ...

    def error(self, parameter: np.ndarray) -> np.ndarray:
        """Their mean squared error, float64 (n, m), squared grey levels, for m parameters an image, (n, m)."""
        ...


class Blur:
    """Gaussian blur of a mirrored image (heat flow with reflecting borders); the parameter is log2 of sigma in pixels.

    Computed on the cosine transform, where it multiplies coefficient (u, v) by exp(-(sigma pi)^2 (u^2/h^2 + v^2/w^2) / 2).
    At ``high`` it leaves each channel's mean.
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
        rows, columns = self._gains(parameter)  # (1 - rc)^2 = 1 - 2 rc + (rc)^2, and the sum over r and c factors
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
    """float64 (side, side): the orthonormal cosine transform (DCT-II)."""
    frequency, place = np.arange(side)[:, None], np.arange(side)[None, :]
    matrix: np.ndarray = np.cos(np.pi * frequency * (2 * place + 1) / (2 * side)) * np.sqrt(2 / side)
    matrix[0] /= np.sqrt(2)
    return matrix


class LowPass:
    """Ideal low-pass filter: a centred disc of the Fourier transform; the parameter is how many rings of frequencies go.

    Frequencies of one distance from the centre make a ring. Of a whole number, those rings go, the outermost first; the
    fraction dims the next, so that every distortion can be had. At ``high`` nothing is left.
    """

    low = 0.0

    def __init__(self, images: np.ndarray) -> None:
        height, width = images.shape[2:]
        self._spectrum = np.fft.fft2(images)
        far = np.fft.fftfreq(height, 1 / height)[:, None] ** 2 + np.fft.fftfreq(width, 1 / width)[None, :] ** 2
        distances, ring = np.unique(np.rint(far).astype(np.int64), return_inverse=True)
        self._place = len(distances) - 1 - ring.reshape(far.shape)  # the outermost ring is 0
        self.high = float(len(distances))
        power = (np.abs(self._spectrum) ** 2).mean(1).reshape(len(images), -1) / far.size**2
        self._power = np.stack([np.bincount(self._place.ravel(), row, len(distances)) for row in power])
        self._before = np.cumsum(self._power, axis=1) - self._power

    def apply(self, parameter: np.ndarray) -> np.ndarray:
        gone = np.clip(parameter[:, None, None] - self._place, 0, 1)
        passed: np.ndarray = np.fft.ifft2(self._spectrum * (1 - gone)[:, None]).real
        return passed

    def error(self, parameter: np.ndarray) -> np.ndarray:
        whole = np.minimum(parameter.astype(np.int64), self._power.shape[1] - 1)
        before, ring = (np.take_along_axis(power, whole, axis=1) for power in (self._before, self._power))
        error: np.ndarray = before + (parameter - whole) ** 2 * ring
        return error


class Noise:
    """Gaussian white noise, a fixed pattern for each key; the parameter is log2 of its deviation in grey levels."""

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
