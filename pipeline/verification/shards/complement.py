"""The complement law: with R = rint(255 A_k), low is clip(R) and high is clip(X - R + 128), so the two give back X.

Where neither is clipped, low + high - 128 = X exactly; where one is clipped, the two still bound X from one side.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled
from pipeline.verification.manifest.claims import OFFSET


class Bounds:
    """The values that the images of a batch can have, subpixel by subpixel, narrowed by each pair of low and high.

    Images that are not known are bounded by their parts alone, so that the ranks are compared with each other.

    Args:
        images: uint8 (n, h, w, 3).
        known: bool (n,), the images that are known; the others may have any values.
    """

    def __init__(self, images: np.ndarray, known: np.ndarray) -> None:
        self._least, self._most = (images.reshape(len(images), -1).copy() for _ in range(2))
        self._least[~known], self._most[~known] = 0, 255

    def broken(self, low: np.ndarray, high: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Returns bool (n, h, w, 3): where no image can have these two parts and those of the calls before.

        Args:
            low, high: uint8 (n, h, w, 3), the parts of one rank.
            valid: bool (n,), images of which both parts are there; the others are left alone.
        """
        count = len(low)
        wrong = np.zeros((count, low[0].size if count else 0), np.bool_)
        _narrow(self._least, self._most, low.reshape(count, -1), high.reshape(count, -1), valid, wrong)
        return wrong.reshape(low.shape)


@compiled
def _narrow(least: Any, most: Any, low: Any, high: Any, valid: Any, wrong: Any) -> None:
    """Narrows the bounds of each image by its two parts; marks subpixels of which no value is left, and keeps their bounds.

    Args:
        least, most: uint8 (n, m), narrowed.
        low, high: uint8 (n, m).
        valid: bool (n,).
        wrong: bool (n, m), filled for valid images.
    """
    for i in range(len(low)):
        if valid[i]:
            for j in range(low.shape[1]):
                a, b = np.int16(low[i, j]), np.int16(high[i, j])
                x = np.int16(a + b - np.int16(OFFSET))
                # A low part clipped at 0 means R <= 0, so X is at most high - 128; the other three edges likewise.
                lower = x if (a != 0) & (b != 0) else np.int16(0)
                upper = x if (a != 255) & (b != 255) else np.int16(255)
                before_lower, before_upper = np.int16(least[i, j]), np.int16(most[i, j])
                bad = (lower > before_upper) | (upper < before_lower)
                wrong[i, j] = bad
                least[i, j] = before_lower if bad else max(before_lower, lower)
                most[i, j] = before_upper if bad else min(before_upper, upper)
