"""What happens to an image's size before it is decomposed: resizing and cropping, as torchvision does on PIL images."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.errors import Undecodable

# Pixels a side of the largest images that are taken: what the cuts' int16 arithmetic holds.
MAX_SIDE = 15_000


@dataclass(frozen=True)
class Geometry:
    """Equal to torchvision's ``Resize(resize), CenterCrop(crop)`` with their defaults (bilinear, antialiased).

    Attributes:
        resize: the shorter side becomes this, pixels; None keeps the size.
        crop: a centred square of this side is cut out, pixels, no more than ``resize``; None keeps all.
    """

    resize: int | None = None
    crop: int | None = None

    def __str__(self) -> str:
        if self.resize is None:
            return "native"
        return f"shorter side {self.resize}, " + (f"centre crop {self.crop}" if self.crop else "not cropped")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of a size comes to have."""
        if self.crop:
            return self.crop, self.crop
        return self._resized(height, width)

    def takes(self, height: int, width: int) -> bool:
        """Whether images of a size can be brought to the geometry."""
        return max(self._resized(height, width)) <= MAX_SIDE

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        short, long = self.resize, int(self.resize * max(height, width) / min(height, width))
        return (short, long) if height <= width else (long, short)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (3, h, w) to uint8 (3, h', w'). Raises Undecodable: a thin image becomes too large when it is resized."""
        if self.resize is None:
            return pixels
        height, width = self._resized(*pixels.shape[1:])
        if max(height, width) > MAX_SIDE:
            raise Undecodable(f"too large when resized: {height} x {width} pixels, at most {MAX_SIDE} a side")
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop:
            top, left = round((height - self.crop) / 2), round((width - self.crop) / 2)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.asarray(image).transpose(2, 0, 1)


NATIVE = Geometry()
