"""Quantiles of the singular values of an output's images, and of the energy that each rank keeps."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.files import Files
from pipeline.data.output import NAME, Output
from pipeline.data.zarr_rows import ZarrRows
from pipeline.errors import PipelineError, one_line
from pipeline.formats.spectra import STORE
from pipeline.numerics.geometry import MAX_SIDE

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BYTES = 64 << 20  # of singular values that are read; more images than that are sampled


@dataclass(frozen=True)
class Spectra:
    """Over images of all splits.

    Attributes:
        images: how many were read.
        of: how many there are.
        values: float64 (5, side): quantiles over images and channels of each singular value of the image in [0, 1].
        energy: float64 (5, side): quantiles over images of the share of the squared singular values, of all channels
            together, that the k largest of each channel hold.
    """

    images: int
    of: int
    values: np.ndarray
    energy: np.ndarray


def read(output: Output) -> Spectra | None:
    """The spectra of all images, or of as many as ``_BYTES`` hold, evenly spread over the output's positions.

    Returns:
        None where the output has no singular values (they were left behind, or every image was rejected).

    Raises:
        PipelineError: the arrays are damaged.
    """
    if not (output.root / STORE).is_dir():
        return None
    arrays = [ZarrRows(output.root / STORE / split, (3, _side(output))) for split in output.splits]
    total = sum(array.rows for array in arrays)
    wanted = sum(_BYTES // (4 * int(np.prod(array.shape))) for array in arrays[:1])
    rows = [row for array in arrays for row in _rows(array, -(-wanted * array.rows // max(total, 1)))]
    kept = [row for row in rows if np.isfinite(row[:, 0]).all()]
    if not kept:
        return None
    values = np.stack(kept).astype(np.float64)
    squares = np.nan_to_num(values**2)
    held = squares.sum(axis=1).cumsum(axis=1)
    whole = held[:, -1:]
    energy = np.where(whole > 0, held / np.where(whole > 0, whole, 1), 1)
    flat = values.reshape(-1, values.shape[2])
    present = np.isfinite(flat).any(axis=0)
    quantiles = np.full((len(QUANTILES), flat.shape[1]), np.nan)
    quantiles[:, present] = np.nanquantile(flat[:, present], QUANTILES, axis=0)
    return Spectra(len(kept), total, quantiles, np.quantile(energy, QUANTILES, axis=0))


def _side(output: Output) -> int:
    """How many singular values a row has."""
    side = output.manifest["image"].get("side")
    if type(side) is not int or not 0 < side <= MAX_SIDE:
        raise PipelineError(f"{output.root / NAME} is damaged: the side of its images is {one_line(str(side)[:100])}")
    return side


def _rows(array: ZarrRows, wanted: int) -> list[np.ndarray]:
    files = Files()
    return [array.row(int(i), files) for i in spread(array.rows, wanted)]


def spread(count: int, wanted: int) -> np.ndarray:
    """int64: ``wanted`` different positions of ``count``, evenly spaced; all where there are no more."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))
