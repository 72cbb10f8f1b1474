"""JPEG as a family of distortions: the standard quantisation tables at a grid of scales, finer than quality 1 to 100."""

import io

import numpy as np
from PIL import Image

SCALES = 96


class Jpeg:
    """Every image compressed at every scale of a grid, without chroma subsampling.

    Scale 1 is the tables of Annex K of ITU-T T.81 (quality 50). The smallest scale makes every entry 1, the largest 255.

    Args:
        pixels: uint8 (n, 3, h, w).

    Attributes:
        errors: float64 (n, SCALES), mean squared error, squared grey levels.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        grids = np.geomspace(1 / 256, 32, SCALES)[:, None, None] * _standard_tables()
        self._grids = np.clip(np.rint(grids), 1, 255).astype(int).tolist()
        self._images = [Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in pixels]
        self.errors = np.empty((len(pixels), SCALES))
        for number, image in enumerate(pixels.astype(np.float64)):
            for scale in range(SCALES):
                self.errors[number, scale] = ((self._compressed(number, scale) - image) ** 2).mean()

    def nearest(self, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns each image at the scale whose error is nearest to the target, on a logarithmic scale.

        Args:
            errors: target of each image, float64 (n,), squared grey levels.

        Returns:
            images, uint8 (n, 3, h, w), and their errors, float64 (n,).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.abs(np.log(self.errors) - np.log(errors)[:, None])
        best = np.argmin(np.where(np.isnan(distance), 0.0, distance), axis=1)  # NaN: both errors are 0
        images = [self._compressed(number, scale) for number, scale in enumerate(best.tolist())]
        return np.stack(images), self.errors[np.arange(len(errors)), best]

    def _compressed(self, number: int, scale: int) -> np.ndarray:
        """Returns one image at one scale, uint8 (3, h, w). Results are not cached: all of them would fill the memory."""
        file = io.BytesIO()
        self._images[number].save(file, "JPEG", qtables=self._grids[scale], subsampling=0)
        with Image.open(file) as image:
            return np.asarray(image).transpose(2, 0, 1)


def _standard_tables() -> np.ndarray:
    """Returns the luminance and chrominance tables of Pillow's encoder, float64 (2, 64)."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=50)
    with Image.open(file) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return np.array([tables[number] for number in (0, 1)], np.float64)
