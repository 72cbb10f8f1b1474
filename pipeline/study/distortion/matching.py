"""Matches controls to rank k: bisects the parameter of each image until its mean squared error is that of rank k."""

from collections.abc import Callable, Iterator, Sequence
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

# A control is matched if its PSNR differs from rank k's by at most this, in decibels. Bisection reaches a thousandth of it.
TOLERANCE = 0.25
_STEPS = 30


class Distorted(NamedTuple):
    """A batch at one distortion.

    Attributes:
        family: name of the family.
        rank: the k whose error the batch has.
        images: float64 (n, 3, h, w), grey levels.
        error: float64 (n,), mean squared error, squared grey levels.
        matched: bool (n,), whether the error is that of rank k within ``TOLERANCE``.
    """

    family: str
    rank: int
    images: np.ndarray
    error: np.ndarray
    matched: np.ndarray


def distort(
    pixels: np.ndarray,
    keys: list[str],
    families: tuple[str, ...],
    as_stored: bool,
    ranks: Sequence[int] | None = None,
) -> Iterator[Distorted]:
    """Yields rank k of a batch at each rank, then each control with the same errors, image by image.

    Args:
        pixels: uint8 (n, 3, h, w).
        keys: keys of the images; they seed the noise.
        families: names, with ``rank``.
        as_stored: round and clip images to 0..255, as PNG files store them, before errors are measured.
        ranks: ascending, from 0 (black) to min(h, w) (the image itself); None for every rank.
    """
    images = pixels.astype(np.float64)
    ranks = range(min(pixels.shape[2:]) + 1) if ranks is None else ranks
    errors = []
    for k, cut in zip(ranks, (stored_rank_images if as_stored else rank_images)(pixels, ranks), strict=True):
        errors.append(mse(cut, images))
        yield Distorted(RANK, k, cut, errors[-1], np.ones(len(pixels), bool))
    targets = np.stack(errors, axis=1)
    for name in families:
        if name == "jpeg":
            yield from _jpeg(Jpeg(pixels), targets, ranks)
        elif name != RANK:
            control = create(name, images, keys)
            batches = _stored(control, images, targets) if as_stored else _unclipped(control, targets)
            for k, target, batch in zip(ranks, targets.T, batches, strict=True):
                yield _measured(name, k, batch, images, target)


def create(name: str, images: np.ndarray, keys: list[str]) -> Family:
    """Returns the control ``noise``, ``blur`` or ``lowpass`` of a batch, float64 (n, 3, h, w), grey levels."""
    if name == "noise":
        return Noise(images, keys)
    return Blur(images) if name == "blur" else LowPass(images)


def mse(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the mean squared error of each image, float64 (n,)."""
    error: np.ndarray = ((images - reference) ** 2).mean((1, 2, 3))
    return error


def psnr(error: np.ndarray) -> np.ndarray:
    """Returns the PSNR in decibels of errors in squared grey levels; infinite for an error of 0."""
    with np.errstate(divide="ignore"):
        decibels: np.ndarray = 10 * np.log10(255**2 / error)
    return decibels


def bisect(error: Callable[[np.ndarray], np.ndarray], targets: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns the parameters at which an increasing function equals ``targets``, element by element.

    If a target is outside the function's range, the parameter is ``low`` or ``high``.
    """
    lower, upper = np.full(targets.shape, low), np.full(targets.shape, high)
    for _ in range(_STEPS):
        middle = (lower + upper) / 2
        below = error(middle) < targets
        lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
    parameters: np.ndarray = (lower + upper) / 2
    return parameters


def _unclipped(control: Family, targets: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the control's images at each rank's error. A formula gives the errors, so all ranks are bisected at once."""
    parameters = bisect(control.error, targets, control.low, control.high)
    for k in range(targets.shape[1]):
        yield control.apply(parameters[:, k])


def _stored(control: Family, images: np.ndarray, targets: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the control's images at each rank's error, rounded and clipped. Errors are measured on the pixels."""
    for target in targets.T:
        parameter = bisect(lambda p: mse(stored(control.apply(p)), images), target, control.low, control.high)
        yield stored(control.apply(parameter))


def _jpeg(jpeg: Jpeg, targets: np.ndarray, ranks: Sequence[int]) -> Iterator[Distorted]:
    for k, target in zip(ranks, targets.T, strict=True):
        images, error = jpeg.nearest(target)
        yield Distorted("jpeg", k, images.astype(np.float64), error, _matched(error, target))


def _measured(name: str, k: int, distorted: np.ndarray, images: np.ndarray, target: np.ndarray) -> Distorted:
    # At full rank the target is 0 and every family is the image itself, which bisection only approximates.
    error = np.where(target == 0, 0.0, mse(distorted, images))
    distorted = np.where((target == 0)[:, None, None, None], images, distorted)
    return Distorted(name, k, distorted, error, _matched(error, target))


def _matched(error: np.ndarray, target: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        matched: np.ndarray = (np.abs(psnr(error) - psnr(target)) <= TOLERANCE) | (error == target)
    return matched
