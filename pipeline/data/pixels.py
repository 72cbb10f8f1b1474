"""Decodes stored images: PNG and npy members, tensors, and the sign of high-rank-only images."""

import io
import math
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pipeline.extras import optional_import
from pipeline.numerics.variants import OFFSET

MAX_PIXELS = 1 << 26  # of an image: limits what a hostile output can make a reader decode
_DEFLATE = 1032  # deflate expands one byte to at most this many
_HEAD = 128  # bytes of an npy header for float32 (h, w, 3), with padding


def decode_png(content: bytes, shape: tuple[int, int] | None) -> Image.Image:
    """Returns a PNG file as a loaded 8-bit RGB image.

    Args:
        content: bytes of the PNG file.
        shape: expected (height, width); None allows any size up to ``MAX_PIXELS``. Larger images are never decoded.

    Raises:
        ValueError: the content is not such a PNG file.
    """
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(content))
        if image.mode != "RGB" or not _expected((image.height, image.width), shape):
            raise ValueError(f"it is {image.height} x {image.width} {image.mode}")
        if 3 * image.height * image.width > _DEFLATE * len(content):
            raise ValueError(f"it is {image.height} x {image.width} in {len(content):,} bytes")
        image.load()
    except ValueError:
        raise
    except Exception as error:  # on hostile content, decoders raise any type of error
        raise ValueError(f"Pillow cannot decode it: {error}") from None
    return image


def decode_npy(content: bytes, shape: tuple[int, int] | None) -> np.ndarray:
    """Returns an npy file as a new float32 (h, w, 3) array; arguments and errors as in ``decode_png``."""
    start, size, fortran, dtype = _head(content[:_HEAD])
    if dtype != "<f4" or fortran or len(size) != 3 or size[2] != 3 or not _expected((size[0], size[1]), shape):
        raise ValueError(f"it is {dtype} {size}")
    if len(content) != start + 4 * math.prod(size):
        raise ValueError("it is cut off")
    return np.frombuffer(content, "<f4", offset=start).reshape(size).copy()


@lru_cache
def _head(content: bytes) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Returns data offset, shape, Fortran order and dtype of an npy header, parsed once for all images of one size."""
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        raise ValueError(f"it is not an npy file: {error}") from None
    return file.tell(), shape, fortran, dtype


def _expected(size: tuple[int, int], shape: tuple[int, int] | None) -> bool:
    return (shape is None or size == shape) and 0 < math.prod(size) <= MAX_PIXELS


def to_tensor(image: Any) -> Any:
    """Returns a PIL image or a uint8 (h, w, 3) array as a torch float32 tensor (3, h, w) in [0, 1].

    A grey image or (h, w) array gives one plane, (1, h, w). Float arrays keep their values. It does what torchvision's
    ``ToTensor`` does, without torchvision.

    Raises:
        PipelineError: torch is not installed.
    """
    with optional_import():
        import torch

    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    planes = np.array(
        array.transpose(2, 0, 1), np.float32, order="C"
    )  # by NumPy: torch's calls are slower on small images
    if array.dtype == np.uint8:
        planes /= 255
    return torch.from_numpy(planes)


def decode_high(pixels: Any) -> Any:
    """Returns the signed residual X - A_k of stored high-rank-only pixels.

    High-rank-only images, bands and high-pass images are stored with an offset of 128 grey levels, the same for every
    image. ``-exact`` variants have no offset: they are signed already.

    Args:
        pixels: grey levels 0..255 as uint8 array, uint8 tensor or PIL image; or grey levels divided by 255 as float array or
            float tensor, as ``ToTensor`` gives. Any shape.

    Returns:
        (pixel - 128) / 255, in units of the image in [0, 1], from -128/255 to 127/255. It has the shape of ``pixels``; it is
        a tensor for a tensor, else an array; float32 for grey levels, else of the same dtype.

    Raises:
        TypeError: the dtype is another one, so the unit is unknown.
        ValueError: float values are NaN, or outside of [0, 1] by more than half a grey level. They are no stored image, but
            for example normalised, or of an ``-exact`` variant.
    """
    torch = sys.modules.get("torch")  # if the caller has a tensor, torch is imported already
    if torch is not None and isinstance(pixels, torch.Tensor):
        if pixels.dtype == torch.uint8:
            return (pixels.to(torch.float32) - OFFSET) / 255
        if pixels.dtype.is_floating_point:
            if pixels.numel():
                _refuse_other_values(*(float(end) for end in pixels.detach().aminmax()))
            return pixels - OFFSET / 255
        raise TypeError(f"{pixels.dtype} is neither uint8 grey levels nor a float in [0, 1]")
    array = np.asarray(pixels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - np.float32(OFFSET)) / np.float32(255)
    if np.issubdtype(array.dtype, np.floating):
        if array.size:
            _refuse_other_values(float(array.min()), float(array.max()))
        return array - array.dtype.type(OFFSET / 255)
    raise TypeError(f"{array.dtype} is neither uint8 grey levels nor a float in [0, 1]")


def _refuse_other_values(least: float, most: float) -> None:
    """Refuses float images with values that round to no grey level. NaN is refused too."""
    if not -0.5 / 255 <= least <= most <= 255.5 / 255:
        raise ValueError(
            f"values from {least:.4g} to {most:.4g} are no stored high-rank-only image: give grey levels divided by 255, "
            "before any normalisation; -exact images are signed already"
        )
