"""Measures PSNR and SSIM of each variant against the original images, on a sample."""

import math
from dataclasses import dataclass

import numpy as np
from skimage.metrics import mean_squared_error, structural_similarity

from pipeline.data.output import Output
from pipeline.report.originals import FULL, Originals
from pipeline.report.spectra import QUANTILES, spread
from pipeline.report.stored import Stored

_WINDOW = 11  # pixels: size of the Gaussian window (sigma 1.5) in the definition of SSIM


@dataclass(frozen=True)
class Measure:
    """Errors of one variant, as quantiles (5,) over the sample.

    Attributes:
        psnr: dB; infinite for equal images.
        ssim: None if the images are smaller than the window of SSIM.
    """

    psnr: np.ndarray
    ssim: np.ndarray | None


def sample_size(output: Output) -> int:
    """Returns a number of images that takes a few seconds to measure, given the output's largest image."""
    side = int(output.manifest["image"].get("side") or 256)
    height, width = output.shape or (side, side)
    return max(8, min(128, 128 * 64 * 64 // max(1, height * width)))


def measure(stored: Stored, originals: Originals, count: int) -> tuple[int, dict[str, Measure]]:
    """Compares ``count`` evenly spaced images of a split with their originals, in every variant except ``full``.

    High-rank-only images are compared as stored, with their offset of 128. Float variants are compared without rounding or
    clipping.

    Returns:
        the number of images, and the errors by variant.
    """
    names = [name for name in stored.output.variants if name != FULL]
    chosen = spread(min((len(stored.data(name)) for name in names), default=0), count)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for at in chosen.tolist():
        original = originals.get(at)
        for name in names:
            pixels = stored.grey(name, at)
            pairs[name].append((psnr(original, pixels), ssim(original, pixels)))
    return len(chosen), {name: _quantiles(np.array(values)) for name, values in pairs.items() if values}


def psnr(original: np.ndarray, other: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio in dB of two images in grey levels; infinite if they are equal."""
    error = mean_squared_error(original, other)
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(original: np.ndarray, other: np.ndarray) -> float:
    """Returns the structural similarity (Wang et al. 2004, Gaussian window), mean over channels.

    It is NaN if a side has fewer than 11 pixels.
    """
    if min(original.shape[:2]) < _WINDOW:
        return math.nan
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            original.astype(np.float64),
            np.asarray(other, np.float64),
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def _quantiles(pairs: np.ndarray) -> Measure:
    similar = pairs[np.isfinite(pairs[:, 1]), 1]
    # "nearest", because interpolation between two infinite values gives NaN.
    decibels = np.quantile(pairs[:, 0], QUANTILES, method="nearest")
    return Measure(decibels, np.quantile(similar, QUANTILES) if len(similar) else None)
