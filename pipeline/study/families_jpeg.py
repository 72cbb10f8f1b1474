"""JPEG as a family of distortions: the standard's quantisation tables at a grid of scales, finer than quality 1 to 100."""

import io

import numpy as np
from PIL import Image

SCALES = 96


class Jpeg:
    """Every image at every scale, without chroma subsampling: distortions are those of the grid, not a continuum.

    Scale 1 is the standard's own tables (Annex K of ITU T.81; quality 50), the least turns every entry to 1, the largest
    to 255.

    Args:
        pixels: uint8 (n, 3, h, w).

    Attributes:
        images: uint8 (n, SCALES, 3, h, w).
        errors: float64 (n, SCALES), mean squared error, squared grey levels.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        tables = _standard_tables()
        scales = np.geomspace(1 / 256, 32, SCALES)
        shape = (len(pixels), SCALES, *pixels.shape[1:])
        self.images, self.errors = np.empty(shape, np.uint8), np.empty(shape[:2])
        grids = [[np.clip(np.rint(table * scale), 1, 255).astype(int).tolist() for table in tables] for scale in scales]
        for number, image in enumerate(pixels):
            whole = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            for place, grid in enumerate(grids):
                self.images[number, place] = _through(whole, grid)
            apart = self.images[number].astype(np.float64) - image
            self.errors[number] = (apart**2).mean((1, 2, 3))

    def nearest(self, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The grid's images nearest to the wanted errors.

        Args:
            errors: float64 (n,), squared grey levels.

        Returns:
            uint8 (n, 3, h, w), and their own errors, float64 (n,).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(np.log(self.errors) - np.log(errors)[:, None])
        best = np.argmin(np.where(np.isnan(apart), 0.0, apart), axis=1)  # NaN: both are lossless
        every = np.arange(len(errors))
        return self.images[every, best], self.errors[every, best]


def _standard_tables() -> list[np.ndarray]:
    """Luminance and chrominance, as Pillow's encoder carries them."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=50)
    with Image.open(file) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return [np.array(tables[number], np.float64) for number in (0, 1)]


def _through(image: Image.Image, tables: list[list[int]]) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, "JPEG", qtables=tables, subsampling=0)
    with Image.open(file) as again:
        return np.asarray(again).transpose(2, 0, 1)
