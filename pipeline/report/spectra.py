"""Computes quantiles of an output's singular values, and of the energy that each rank keeps."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import NAME, Output
from pipeline.data.zarr_rows import ZarrRows
from pipeline.errors import PipelineError, one_line
from pipeline.formats.spectra import STORE
from pipeline.numerics.geometry import MAX_SIDE

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BYTES = 64 << 20  # of singular values to read; beyond, images are sampled


@dataclass(frozen=True)
class Spectra:
    """Quantiles over the images of all splits.

    Attributes:
        images: number of images read.
        of: number of all images.
        values: float64 (5, side): quantiles over images and channels of each singular value of the image in [0, 1].
        energy: float64 (5, side): quantiles over images of the share of the squared singular values, of all channels
            together, that the k largest of each channel hold.
    """

    images: int
    of: int
    values: np.ndarray
    energy: np.ndarray


def read(output: Output) -> Spectra | None:
    """Returns the quantiles over all images, or over an evenly spaced sample whose values fill ``_BYTES``.

    Returns:
        None if the output has no singular values: they were not copied, or every image was rejected.

    Raises:
        PipelineError: the arrays are damaged.
    """
    if not (output.root / STORE).is_dir():
        return None
    arrays = [ZarrRows(output.root / STORE / split, (3, _side(output))) for split in output.splits]
    total = sum(array.rows for array in arrays)
    budget = sum(_BYTES // (4 * int(np.prod(array.shape))) for array in arrays[:1])
    rows = [row for array in arrays for row in _rows(array, -(-budget * array.rows // max(total, 1)))]
    rows = [row for row in rows if np.isfinite(row[:, 0]).all()]  # rejected images have NaN
    if not rows:
        return None
    values = np.stack(rows).astype(np.float64)
    squares = np.nan_to_num(values**2)
    cumulative = squares.sum(axis=1).cumsum(axis=1)
    total_energy = cumulative[:, -1:]
    energy = np.where(total_energy > 0, cumulative / np.where(total_energy > 0, total_energy, 1), 1)
    flat = values.reshape(-1, values.shape[2])
    present = np.isfinite(flat).any(axis=0)
    quantiles = np.full((len(QUANTILES), flat.shape[1]), np.nan)
    quantiles[:, present] = np.nanquantile(flat[:, present], QUANTILES, axis=0)
    return Spectra(len(rows), total, quantiles, np.quantile(energy, QUANTILES, axis=0))


def _side(output: Output) -> int:
    """Returns the number of singular values in a row."""
    side = output.manifest["image"].get("side")
    if type(side) is not int or not 0 < side <= MAX_SIDE:
        raise PipelineError(f"{output.root / NAME} is damaged: the side of its images is {one_line(str(side)[:100])}")
    return side


def _rows(array: ZarrRows, count: int) -> list[np.ndarray]:
    files = Files()
    return [array.row(int(i), files) for i in spread(array.rows, count)]


def spread(length: int, count: int) -> np.ndarray:
    """Returns int64: ``count`` evenly spaced positions among ``length``; all of them if ``length`` is smaller."""
    return np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(np.int64))
