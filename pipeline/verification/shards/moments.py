"""Mean and deviation of every variant's pixels, summed while the images are decoded."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics.jit import compiled
from pipeline.verification.faults import Faults, printable
from pipeline.verification.manifest.claims import NAME, Manifest, Variant

# Allowed error of pixels in [0, 1]: whole grey levels add up exactly, float32 values nearly.
_ALLOWED = {"png": 1e-9, "npy": 1e-5}
_ROWS_IN_32_BITS = 1 << 16  # so many squared grey levels add up in 32 bits


class Moments(NamedTuple):
    """Sums over pixels.

    Attributes:
        pixels: how many there are.
        sums, squares: float64 (3,), the sums of each channel's values in [0, 1] and of their squares.
        ends: subpixels that are 0 or 255, as all clipped ones are; 0 for float32 images.
    """

    pixels: int
    sums: np.ndarray
    squares: np.ndarray
    ends: int

    def plus(self, other: "Moments") -> "Moments":
        sums, squares = self.sums + other.sums, self.squares + other.squares
        return Moments(self.pixels + other.pixels, sums, squares, self.ends + other.ends)


def moments_of(images: np.ndarray) -> Moments:
    """Returns the moments of uint8 or float32 (n, h, w, 3) images."""
    pixels = images.size // 3
    if images.dtype == np.uint8:
        sums, squares = np.zeros(3, np.uint64), np.zeros(3, np.uint64)
        ends = _add_levels(images.reshape(-1, 3 * images.shape[2]), sums, squares)
        return Moments(pixels, sums / 255, squares / 255**2, int(ends))
    values = images.reshape(-1, 3).astype(np.float64)
    return Moments(pixels, values.sum(axis=0), (values * values).sum(axis=0), 0)


@compiled
def _add_levels(rows: Any, sums: Any, squares: Any) -> Any:
    """Adds up grey levels and their squares. Returns how many levels are 0 or 255.

    Args:
        rows: uint8 (n, 3 w), channels interleaved.
        sums, squares: uint64 (3,), added to.
    """
    ends = np.int64(0)
    for start in range(0, rows.shape[0], _ROWS_IN_32_BITS):
        first, second = np.zeros(rows.shape[1], np.uint32), np.zeros(rows.shape[1], np.uint32)
        third = np.zeros(rows.shape[1], np.uint32)
        for row in range(start, min(start + _ROWS_IN_32_BITS, rows.shape[0])):
            for i in range(rows.shape[1]):
                level = np.uint32(rows[row, i])
                first[i] += level
                second[i] += level * level
                third[i] += np.uint8(rows[row, i] + np.uint8(1)) < np.uint8(2)
        for i in range(rows.shape[1]):
            sums[i % 3] += first[i]
            squares[i % 3] += second[i]
            ends += third[i]
    return ends


def compare(
    manifest: Manifest, raw: dict[str, Any], moments: dict[tuple[Variant, str], Moments], faults: Faults
) -> None:
    """Reports each mean and std of the manifest that is not that of the pixels, and impossible numbers of clipped subpixels.

    Args:
        raw: the manifest as it was read.
    """
    for (variant, split), total in moments.items():
        count = max(1, total.pixels)
        mean = total.sums / count
        std = np.sqrt(np.maximum(0, total.squares / count - mean * mean))
        described = raw["variants"][variant.name]["splits"][split]
        subpixels = described.get("subpixels")
        if subpixels != 3 * total.pixels:  # where all images have one size, that tells it too
            faults.add(
                NAME, f"{variant.name} {split}: {printable(subpixels, 20)} subpixels, it has {3 * total.pixels:,}"
            )
        clipped, most = described.get("clipped"), 0 if variant.component == "full" else total.ends
        if type(clipped) is not int or not 0 <= clipped <= most:
            faults.add(NAME, f"{variant.name} {split}: {printable(clipped, 20)} subpixels clipped, but {most:,} can be")
        for name, right in (("mean", mean), ("std", std)):
            claim = described.get(name)
            numbers = isinstance(claim, list) and len(claim) == 3 and all(isinstance(value, float) for value in claim)
            # A deviation near zero is the root of a difference: it is as exact as the root of the allowed error.
            allowed = _ALLOWED[variant.form] if name == "mean" else 10 * _ALLOWED[variant.form] ** 0.5 * (right < 1e-3)
            if not numbers or (np.abs(np.array(claim) - right) > np.maximum(allowed, _ALLOWED[variant.form])).any():
                faults.add(NAME, f"{variant.name} {split}: the {name} is not that of its pixels")
