"""How far the images of each variant are from the originals: PSNR and SSIM, on a sample."""

import math
from dataclasses import dataclass

import numpy as np
from skimage.metrics import mean_squared_error, structural_similarity

from pipeline.data.output import Output
from pipeline.report.originals import FULL, Originals
from pipeline.report.spectra import QUANTILES, spread
from pipeline.report.stored import Stored

_WINDOW = 11  # pixels: the Gaussian window of sigma 1.5 that SSIM is defined with


@dataclass(frozen=True)
class Measure:
    """Of one variant: quantiles (5,) over the sample; PSNR in dB (infinite where equal), SSIM None where images are too
    small for its window."""

    psnr: np.ndarray
    ssim: np.ndarray | None


def sample_size(output: Output) -> int:
    """How many images are measured: what takes a few seconds, as large as the output's largest one is."""
    side = int(output.manifest["image"].get("side") or 256)
    height, width = output.shape or (side, side)
    return max(8, min(128, 128 * 64 * 64 // max(1, height * width)))


def measure(stored: Stored, originals: Originals, count: int) -> tuple[int, dict[str, Measure]]:
    """Compare ``count`` evenly spaced images of a split with their originals, in every variant but ``full``.

    High-rank-only images are compared as they are stored, on their offset of 128: how little of the picture they look
    like. Float variants are neither rounded nor clipped for it.

    Returns:
        the number of images, and the measures by variant.
    """
    names = [name for name in stored.output.variants if name != FULL]
    chosen = spread(min((len(stored.data(name)) for name in names), default=0), count)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for at in chosen.tolist():
        original = originals.get(at)
        for name in names:
            pixels = stored.grey(name, at)
            found[name].append((psnr(original, pixels), ssim(original, pixels)))
    return len(chosen), {name: _quantiles(np.array(pairs)) for name, pairs in found.items() if pairs}


def psnr(original: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in grey levels; infinite where they are equal."""
    error = mean_squared_error(original, other)
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(original: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004, their Gaussian window), mean over channels; NaN below 11 pixels a side."""
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
    # of infinities, nearest: between two of them there is nothing to interpolate
    decibels = np.quantile(pairs[:, 0], QUANTILES, method="nearest")
    return Measure(decibels, np.quantile(similar, QUANTILES) if len(similar) else None)
