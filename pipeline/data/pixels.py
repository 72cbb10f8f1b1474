"""Stored images to pixels: PNG and npy members, tensors, and the sign of high-rank-only images."""

import io
import math
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pipeline.numerics.variants import OFFSET

MAX_PIXELS = 1 << 26  # of an image: bounds what a hostile output can make us decode
_DEFLATE = 1032  # bytes that one of a PNG file can stand for at most
_HEAD = 128  # bytes of an npy header of this dtype and number of dimensions, padding included


def decode_png(content: bytes, shape: tuple[int, int] | None) -> Image.Image:
    """An 8-bit RGB image, loaded.

    Args:
        shape: (height, width) that it must have; None for any up to ``MAX_PIXELS``. Nothing larger is ever decoded.

    Raises:
        ValueError: it is not such a PNG file.
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
    except Exception as error:  # decoders raise what they like on hostile content
        raise ValueError(f"Pillow cannot decode it: {error}") from None
    return image


def decode_npy(content: bytes, shape: tuple[int, int] | None) -> np.ndarray:
    """A float32 (h, w, 3) array of its own memory. ``shape`` and errors as in ``decode_png``."""
    start, found, fortran, dtype = _head(content[:_HEAD])
    if dtype != "<f4" or fortran or len(found) != 3 or found[2] != 3 or not _expected((found[0], found[1]), shape):
        raise ValueError(f"it is {dtype} {found}")
    if len(content) != start + 4 * math.prod(found):
        raise ValueError("it is cut off")
    return np.frombuffer(content, "<f4", offset=start).reshape(found).copy()


@lru_cache
def _head(content: bytes) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Where the data starts, shape, whether in Fortran order, dtype: parsed once, for all images of one size."""
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        raise ValueError(f"it is no npy file: {error}") from None
    return file.tell(), shape, fortran, dtype


def _expected(found: tuple[int, int], shape: tuple[int, int] | None) -> bool:
    return (shape is None or found == shape) and 0 < math.prod(found) <= MAX_PIXELS


def to_tensor(image: Any) -> Any:
    """A PIL image or uint8 (h, w, 3) array as torch float32 (3, h, w) in [0, 1]; float arrays keep their values.

    A grey image or (h, w) array has one plane, (1, h, w). What torchvision's ``ToTensor`` does, for those who have none.
    """
    import torch

    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    planes = np.array(array.transpose(2, 0, 1), np.float32, order="C")  # NumPy: torch's calls cost more on small images
    if array.dtype == np.uint8:
        planes /= 255
    return torch.from_numpy(planes)


def decode_high(pixels: Any) -> Any:
    """The signed residual X - A_k of stored high-rank-only pixels, in the units of the image in [0, 1]: -128/255 to 127/255.

    High-rank-only images, bands and high-pass images are stored with an offset of 128 grey levels, the same for every
    image. The variants that end in ``-exact`` have none: they are signed as they are.

    Args:
        pixels: grey levels 0..255 as uint8 array, uint8 tensor or PIL image, or the same divided by 255 as float array or
            float tensor (what ``ToTensor`` gives). Any shape.

    Returns:
        the residual of the same shape, (pixel - 128) / 255: a tensor for a tensor, else an array; float32 for grey levels,
        else of the same dtype.

    Raises:
        TypeError: other dtypes, whose units nobody can tell.
    """
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(pixels, torch.Tensor):
        if pixels.dtype == torch.uint8:
            return (pixels.to(torch.float32) - OFFSET) / 255
        if pixels.dtype.is_floating_point:
            return pixels - OFFSET / 255
        raise TypeError(f"{pixels.dtype} is neither uint8 grey levels nor a float in [0, 1]")
    array = np.asarray(pixels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - np.float32(OFFSET)) / np.float32(255)
    if np.issubdtype(array.dtype, np.floating):
        return array - array.dtype.type(OFFSET / 255)
    raise TypeError(f"{array.dtype} is neither uint8 grey levels nor a float in [0, 1]")
