"""Controls at the distortion of rank k: each image's parameter found by bisection on its mean squared error."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.study.distortion.families import (
    RANK,
    Blur,
    Family,
    LowPass,
    Noise,
    rank_images,
    stored,
    stored_rank_images,
)
from pipeline.study.distortion.jpeg import Jpeg

# A control counts as matched where its PSNR is this near to rank k's, decibels; bisection comes to a thousandth of it.
TOLERANCE = 0.25
_STEPS = 30


class Distorted(NamedTuple):
    """A batch at one distortion.

    Attributes:
        family: name.
        rank: k, whose error it has.
        images: float64 (n, 3, h, w), grey levels.
        error: float64 (n,), mean squared error, squared grey levels.
        matched: bool (n,): its error is that of rank k within ``TOLERANCE``.
    """

    family: str
    rank: int
    images: np.ndarray
    error: np.ndarray
    matched: np.ndarray


def distort(pixels: np.ndarray, keys: list[str], families: tuple[str, ...], as_stored: bool) -> Iterator[Distorted]:
    """Rank k of a batch for k = 0 to min(h, w), and each control at the same error, image by image.

    Args:
        pixels: uint8 (n, 3, h, w).
        keys: of the images; they seed the noise.
        families: names, ``rank`` among them.
        as_stored: rounded and clipped to 0..255, as PNG files hold them, and matched so.
    """
    images = pixels.astype(np.float64)
    targets = []
    for k, cut in enumerate((stored_rank_images if as_stored else rank_images)(pixels)):
        targets.append(mse(cut, images))
        yield Distorted(RANK, k, cut, targets[-1], np.ones(len(pixels), bool))
    wanted = np.stack(targets, axis=1)
    for name in families:
        if name == "jpeg":
            yield from _jpeg(Jpeg(pixels), wanted)
        elif name != RANK:
            yield from _control(name, make(name, images, keys), images, wanted, stored if as_stored else None)


def make(name: str, images: np.ndarray, keys: list[str]) -> Family:
    """A control of a batch, float64 (n, 3, h, w), grey levels."""
    if name == "noise":
        return Noise(images, keys)
    return Blur(images) if name == "blur" else LowPass(images)


def mse(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """float64 (n,): mean squared error of each image."""
    error: np.ndarray = ((images - reference) ** 2).mean((1, 2, 3))
    return error


def psnr(error: np.ndarray) -> np.ndarray:
    """Decibels, of errors in squared grey levels; infinite for none."""
    with np.errstate(divide="ignore"):
        decibels: np.ndarray = 10 * np.log10(255**2 / error)
    return decibels


def bisect(error: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray, low: float, high: float) -> np.ndarray:
    """Where an increasing function comes to ``wanted``, element by element; an end of the range where it does not."""
    least, most = np.full(wanted.shape, low), np.full(wanted.shape, high)
    for _ in range(_STEPS):
        middle = (least + most) / 2
        below = error(middle) < wanted
        least, most = np.where(below, middle, least), np.where(below, most, middle)
    found: np.ndarray = (least + most) / 2
    return found


def _control(
    name: str, family: Family, images: np.ndarray, wanted: np.ndarray, store: Callable[[np.ndarray], np.ndarray] | None
) -> Iterator[Distorted]:
    parameters = None if store else bisect(family.error, wanted, family.low, family.high)
    for k, target in enumerate(wanted.T):
        if parameters is not None:
            distorted = family.apply(parameters[:, k])
        else:
            assert store is not None
            distorted = store(family.apply(_bisect_stored(family, images, target, store)))
        yield _checked(name, k, distorted, images, target)


def _bisect_stored(
    family: Family, images: np.ndarray, target: np.ndarray, store: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    return bisect(lambda p: mse(store(family.apply(p)), images), target, family.low, family.high)


def _jpeg(jpeg: Jpeg, wanted: np.ndarray) -> Iterator[Distorted]:
    for k, target in enumerate(wanted.T):
        images, error = jpeg.nearest(target)
        yield Distorted("jpeg", k, images.astype(np.float64), error, _near(error, target))


def _checked(name: str, k: int, distorted: np.ndarray, images: np.ndarray, target: np.ndarray) -> Distorted:
    error = np.where(target == 0, 0.0, mse(distorted, images))
    # At full rank every family leaves the image as it is, not as bisection comes near to it.
    distorted = np.where((target == 0)[:, None, None, None], images, distorted)
    return Distorted(name, k, distorted, error, _near(error, target))


def _near(error: np.ndarray, target: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        near: np.ndarray = (np.abs(psnr(error) - psnr(target)) <= TOLERANCE) | (error == target)
    return near
