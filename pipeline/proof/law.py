"""The complement law: with R = rint(255 A_k), low is clip(R) and high is clip(X - R + 128), so the two give back X.

Where neither is clipped, low + high - 128 = X exactly; where one is, it still bounds X from one side.
"""

import numpy as np

from pipeline.proof.manifest import OFFSET


class Bounds:
    """What the images of a batch can be, subpixel by subpixel, narrowed by each pair of low and high.

    Args:
        shape: of the arrays, (n, h, w, 3).
        images: uint8, the images where they are known; without them the ranks are held against each other.
    """

    def __init__(self, shape: tuple[int, ...], images: np.ndarray | None) -> None:
        self._known = images is not None
        self.least = np.zeros(shape, np.int16) if images is None else images.astype(np.int16)
        self.most = np.full(shape, 255, np.int16) if images is None else self.least

    def broken(self, low: np.ndarray, high: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """bool (n, h, w, 3): where no image can have these two parts and those given before.

        Args:
            low, high: uint8 (n, h, w, 3), one rank's parts.
            valid: bool (n,), images of which both parts are there; the others are left alone.
        """
        total = np.add(low, high, dtype=np.int16)
        total -= OFFSET
        # A low part clipped at 0 stands for R <= 0, so X <= high - 128 at most; and so on for each of the four edges.
        least = np.where((low != 0) & (high != 0), total, np.int16(0))
        most = np.where((low != 255) & (high != 255), total, np.int16(255))
        wrong = (least > self.most) | (most < self.least)
        wrong[~valid] = False
        if not self._known:
            keep = valid[:, None, None, None] & ~wrong
            np.maximum(self.least, least, out=self.least, where=keep)
            np.minimum(self.most, most, out=self.most, where=keep)
        return wrong
