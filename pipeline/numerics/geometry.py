"""Resizes and crops images before they are decomposed, as torchvision does with PIL images."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.errors import Undecodable

# Largest side of an image, in pixels. Beyond it the int16 arithmetic of the cuts would overflow.
MAX_SIDE = 15_000


@dataclass(frozen=True)
class Geometry:
    """Resizing and cropping, equal to torchvision's ``Resize(resize), CenterCrop(crop)`` (bilinear, antialiased).

    Attributes:
        resize: length of the shorter side after resizing, pixels; None keeps the size.
        crop: side of the centred square that is kept, pixels, at most ``resize``; None keeps the whole image.
    """

    resize: int | None = None
    crop: int | None = None

    def __str__(self) -> str:
        if self.resize is None:
            return "native"
        return f"shorter side {self.resize}, " + (f"centre crop {self.crop}" if self.crop else "not cropped")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) of an image after resizing and cropping."""
        if self.crop:
            return self.crop, self.crop
        return self.resized(height, width)

    def takes(self, height: int, width: int) -> bool:
        """Returns whether an image of this size stays within ``MAX_SIDE`` when it is resized."""
        return max(self.resized(height, width)) <= MAX_SIDE

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) of an image after resizing and before cropping."""
        if self.resize is None:
            return height, width
        short, long = self.resize, int(self.resize * max(height, width) / min(height, width))
        return (short, long) if height <= width else (long, short)

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns top, left, height and width of what the crop keeps of a resized image."""
        if not self.crop:
            return 0, 0, height, width
        return round((height - self.crop) / 2), round((width - self.crop) / 2), self.crop, self.crop

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Resizes and crops an image.

        Args:
            pixels: uint8 (3, h, w).

        Returns:
            uint8 (3, h', w').

        Raises:
            Undecodable: a thin image becomes too large when it is resized.
        """
        if self.resize is None:
            return pixels
        height, width = self.resized(*pixels.shape[1:])
        if max(height, width) > MAX_SIDE:
            raise Undecodable(f"too large when resized: {height} x {width} pixels, at most {MAX_SIDE} a side")
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop:
            top, left, _, _ = self.window(height, width)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.asarray(image).transpose(2, 0, 1)


NATIVE = Geometry()
