"""Mean and deviation of every variant's pixels, summed once more while they are decoded."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.verification.faults import Faults, shown
from pipeline.verification.manifest.claims import NAME, Manifest, Variant

# Of pixels in [0, 1]: whole grey levels add up exactly, float32 ones nearly.
_ALLOWED = {"png": 1e-9, "npy": 1e-5}


class Moments(NamedTuple):
    """Sums over pixels: how many; of each channel the values in [0, 1] and their squares, float64 (3,); and how many
    subpixels are 0 or 255, none of float32 ones."""

    pixels: int
    sums: np.ndarray
    squares: np.ndarray
    ends: int

    def plus(self, other: "Moments") -> "Moments":
        sums, squares = self.sums + other.sums, self.squares + other.squares
        return Moments(self.pixels + other.pixels, sums, squares, self.ends + other.ends)


def moments_of(pixels: np.ndarray) -> Moments:
    """Of (n, h, w, 3) pixels, uint8 or float32."""
    rows = pixels.reshape(-1, 3)
    if pixels.dtype == np.uint8:
        squares = np.multiply(rows, rows, dtype=np.uint16)
        totals = [array.sum(axis=0, dtype=np.uint64).astype(np.float64) for array in (rows, squares)]
        return Moments(len(rows), totals[0] / 255, totals[1] / 255**2, int(np.count_nonzero(rows + np.uint8(1) < 2)))
    values = rows.astype(np.float64)
    return Moments(len(rows), values.sum(axis=0), (values * values).sum(axis=0), 0)


def compare(manifest: Manifest, raw: dict[str, Any], found: dict[tuple[Variant, str], Moments], faults: Faults) -> None:
    """Report every mean and std of the manifest that is not that of the pixels, and more clipped subpixels than can be.

    Args:
        raw: the manifest as it was read.
    """
    for (variant, split), total in found.items():
        count = max(1, total.pixels)
        mean = total.sums / count
        std = np.sqrt(np.maximum(0, total.squares / count - mean * mean))
        described = raw["variants"][variant.name]["splits"][split]
        subpixels = described.get("subpixels")
        if subpixels != 3 * total.pixels:  # which the images' size tells as well, where they have one
            faults.add(NAME, f"{variant.name} {split}: {shown(subpixels, 20)} subpixels, it has {3 * total.pixels:,}")
        clipped, most = described.get("clipped"), 0 if variant.component == "full" else total.ends
        if type(clipped) is not int or not 0 <= clipped <= most:
            faults.add(NAME, f"{variant.name} {split}: {shown(clipped, 20)} subpixels clipped, but {most:,} can be")
        for name, right in (("mean", mean), ("std", std)):
            told = described.get(name)
            plain = isinstance(told, list) and len(told) == 3 and all(isinstance(value, float) for value in told)
            # A deviation near zero is the root of a difference: it is as exact as the root of the allowed error.
            allowed = _ALLOWED[variant.form] if name == "mean" else 10 * _ALLOWED[variant.form] ** 0.5 * (right < 1e-3)
            if not plain or (np.abs(np.array(told) - right) > np.maximum(allowed, _ALLOWED[variant.form])).any():
                faults.add(NAME, f"{variant.name} {split}: the {name} is not that of its pixels")
