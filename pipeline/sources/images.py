"""Decodes image files with Pillow. Content that cannot be decoded becomes ``Undecodable``."""

import io
import logging
import os
import warnings

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401  registers them

from pipeline.errors import Undecodable
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.index import Picture
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer

# Words for Pillow's modes besides RGB.
_MODES = {"1": "grey", "L": "grey", "LA": "alpha", "P": "palette", "PA": "alpha", "RGBA": "alpha", "RGBX": "alpha"}
MAX_BYTES = 1 << 30  # of a file; images that may be decoded are smaller
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # not EPS and the like, which run programs

# Pillow refuses a PNG with a text or a colour profile of more than 1 MiB, which other readers ignore. The text of one image
# together may take this much, too.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # bytes

# Once per process, not around each call: ``warnings.catch_warnings`` is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.|pipeline\.sources\.images$")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def decode_image(raw: bytes) -> Picture:
    """Decodes the first frame of an image file to RGB.

    As in torchvision's ``ImageFolder``, grey, palette, CMYK and alpha images are converted by Pillow's ``convert("RGB")``,
    and EXIF orientation is not applied (Pillow itself applies it to TIFF). Images of more than 8 bits per channel are
    refused: Pillow would cut off values above 255, which turns most of such an image white.

    Raises:
        Undecodable: its reason depends on the content alone, because it is part of an output's bytes.
        MemoryError: memory is short, which is not the image's fault.
    """
    try:
        with _open(raw) as image:
            return convert_image(image)
    except Exception as error:
        raise _undecodable(error) from None


def convert_image(image: Image.Image) -> Picture:
    """Returns the picture of an open image, as ``decode_image`` does of a file. Raises as it does."""
    try:
        refuse_deep(image)
        _refuse_large(image)
        converted = _converted(image)
        pixels = np.asarray(image.convert("RGB"))
    except Exception as error:
        raise _undecodable(error) from None
    return Picture(pixels.transpose(2, 0, 1), converted)


def refuse_deep(image: Image.Image) -> None:
    """Raises Undecodable for an image whose values Pillow's conversion to RGB would cut off."""
    if image.mode.partition(";")[0] in ("I", "F"):
        raise Undecodable("more than 8 bits a channel; convert it to 8 bits first")


def _converted(image: Image.Image) -> str:
    """Returns in a word why an image is not one 8-bit RGB picture, or "". Call it before the pixels are loaded."""
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's photograph, with a preview behind it
        return "animated"
    if any(";16" in str(tile) for tile in getattr(image, "tile", ())):
        return "16-bit"
    return "" if image.mode == "RGB" else _MODES.get(image.mode, image.mode)


def read_image(path: str | os.PathLike[str]) -> bytes:
    """Returns the bytes of an image file. Raises OSError, and Undecodable if it is larger than any image."""
    with open(regular_descriptor(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise too_large(size)
        return file.read()


def too_large(size: int) -> Undecodable:
    """Returns the error for a file of ``size`` bytes."""
    return Undecodable(f"too large: {size:,} bytes, at most {MAX_BYTES:,}")


def header_size(raw: bytes) -> tuple[int, int]:
    """Returns (height, width) from the header, without decoding the pixels. Raises as ``decode_image``."""
    try:
        with _open(raw) as image:
            return image.height, image.width
    except Exception as error:
        raise _undecodable(error) from None


def _open(raw: bytes) -> Image.Image:
    if not raw:
        raise Undecodable("empty file")
    if fault := pointer(raw):
        raise Undecodable(fault)
    image = Image.open(io.BytesIO(raw), formats=FORMATS)
    _refuse_large(image)
    return image


def _refuse_large(image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE:
        raise Undecodable(f"too large: {image.height} x {image.width} pixels, at most {MAX_SIDE} a side")


def _undecodable(error: Exception) -> Exception:
    """Returns an error with a short reason of our own: Pillow's texts contain addresses and change with its versions."""
    if isinstance(error, Undecodable | MemoryError):
        return error
    if isinstance(error, UnidentifiedImageError):
        return Undecodable(f"not an image in one of the formats {', '.join(FORMATS)}")
    if isinstance(error, Image.DecompressionBombError):
        return Undecodable("too many pixels")
    if "truncated" in str(error).lower():
        return Undecodable("truncated")
    return Undecodable("damaged")
