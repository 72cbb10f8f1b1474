"""The images of an array: their layout, their grey levels, and each of them as an image file."""

from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.arrays.npy import Array
from pipeline.sources.index import Picture

_CHANNELS = (1, 3)
# Largest distance of 255 x from a whole number, by bytes of the type: rounding errors of k / 255.
_TOLERANCE = {2: 0.13, 4: 1e-3, 8: 1e-3}


class NotGreyLevels(Exception):
    """Floats that are not grey levels. The message says what they are."""


class Form(NamedTuple):
    """How images are stored: ``channels`` of ``height`` x ``width``, in planes or interleaved, as ``dtype``."""

    height: int
    width: int
    channels: int
    planes: bool
    dtype: str

    @property
    def size(self) -> int:
        """Bytes of an image."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize


def form_of(array: Array) -> Form:
    """Returns how the images of an array are stored.

    Images are (n, h, w) or (n, h, w, c) with c = 1 or 3. (n, c, h, w) is read, too, if the last side is not 1 or 3.

    Raises:
        PipelineError: it is another shape or type.
    """
    shape, dtype = array.shape, np.dtype(array.dtype)
    if (dtype != np.uint8 and dtype.kind != "f") or dtype.itemsize > 8:
        raise PipelineError(
            f"{array.name} holds {dtype}: images must be uint8, or floats that are multiples of 1/255 in [0, 1]"
        )
    if len(shape) == 3:
        height, width, channels, planes = *shape[1:], 1, False
    elif len(shape) == 4 and shape[3] in _CHANNELS:
        height, width, channels, planes = *shape[1:], False
    elif len(shape) == 4 and shape[1] in _CHANNELS:
        channels, height, width, planes = *shape[1:], True
    else:
        raise PipelineError(
            f"{array.name} has the shape {shape}: images must be (n, h, w), (n, h, w, 1) or (n, h, w, 3), or (n, 3, h, w)"
        )
    if not 0 < min(height, width) <= max(height, width) <= MAX_SIDE:
        raise PipelineError(
            f"{array.name} has images of {height} x {width} pixels: 1 to {MAX_SIDE} a side are possible"
        )
    return Form(height, width, channels, planes, array.dtype)


def grey_levels(values: np.ndarray) -> np.ndarray:
    """Returns values as uint8: floats are multiplied by 255. Raises NotGreyLevels if they are not multiples of 1/255."""
    if values.dtype == np.uint8:
        return values
    scaled = values.astype(np.float64) * 255
    rounded = np.rint(scaled)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise NotGreyLevels("it has values that are not finite (NaN or infinity): float images must be in [0, 1]")
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise NotGreyLevels(
            f"it has values from {low:.6g} to {high:.6g}: float images must be in [0, 1]; save images of 0 to 255 as uint8"
        )
    wrong = ~(np.abs(scaled - rounded) <= _TOLERANCE[values.dtype.itemsize])
    if wrong.any():
        raise NotGreyLevels(
            f"it has values between two grey levels ({values[wrong][0]:.6g} x 255 = {scaled[wrong][0]:.3f}), which a build "
            "cannot store: round them yourself, numpy.rint(255 * images).astype('uint8')"
        )
    levels: np.ndarray = rounded.astype(np.uint8)
    return levels


def as_picture(file: bytes) -> Picture:
    """Decodes an image that ``as_file`` has made."""
    head, _, raw = file.partition(b"\n")
    kind, width, height, _ = head.split()
    pixels = np.frombuffer(raw, np.uint8).reshape(int(height), int(width), -1).transpose(2, 0, 1)
    return Picture(pixels) if kind == b"P6" else Picture(np.repeat(pixels, 3, axis=0), "grey")


def as_file(form: Form, raw: bytes) -> bytes:
    """Returns a stored image as a PPM file, or as a PGM file if it is grey. Raises NotGreyLevels."""
    kind = b"P6" if form.channels == 3 else b"P5"
    head = b"%b %d %d 255\n" % (kind, form.width, form.height)
    if form.dtype == "|u1" and not form.planes:
        return head + raw
    pixels = grey_levels(np.frombuffer(raw, form.dtype))
    if form.planes:
        pixels = pixels.reshape(form.channels, form.height, form.width).transpose(1, 2, 0)
    return head + pixels.tobytes()
