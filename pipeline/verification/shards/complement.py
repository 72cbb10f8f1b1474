"""The complement law: with R = rint(255 A_k), low is clip(R) and high is clip(X - R + 128), so the two give back X.

Where neither is clipped, low + high - 128 = X exactly; where one is, it still bounds X from one side.
"""

import numpy as np

from pipeline.verification.manifest.claims import OFFSET


class Bounds:
    """What the images of a batch can be, subpixel by subpixel, narrowed by each pair of low and high.

    Images that are not known are bounded by their parts alone, so that the ranks are held against each other.

    Args:
        images: uint8 (n, h, w, 3).
        known: bool (n,), of which of them it holds; the others may be anything.
    """

    def __init__(self, images: np.ndarray, known: np.ndarray) -> None:
        self._least = images.astype(np.int16)
        self._most = self._least.copy()
        self._least[~known], self._most[~known] = 0, 255
        self._narrow = not known.all()

    def broken(self, low: np.ndarray, high: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """bool (n, h, w, 3): where no image can have these two parts and those given before.

        Args:
            low, high: uint8 (n, h, w, 3), one rank's parts.
            valid: bool (n,), images of which both parts are there; the others are left alone.
        """
        total = np.add(low, high, dtype=np.int16)
        total -= OFFSET
        # A low part clipped at 0 stands for R <= 0, so X is at most high - 128; and so on for each of the four edges.
        least = np.where((low != 0) & (high != 0), total, np.int16(0))
        most = np.where((low != 255) & (high != 255), total, np.int16(255))
        wrong: np.ndarray = (least > self._most) | (most < self._least)
        wrong[~valid] = False
        if self._narrow:
            keep = valid[:, None, None, None] & ~wrong
            np.maximum(self._least, least, out=self._least, where=keep)
            np.minimum(self._most, most, out=self._most, where=keep)
        return wrong
