"""Image files to pixels, through Pillow; content that cannot be decoded becomes ``Undecodable``."""

import io
import logging
import os
import warnings

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401  importing registers them

from pipeline.errors import Undecodable
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.index import Picture
from pipeline.storage.files import regular_descriptor

# Pillow's modes that are not RGB, in words.
_MODES = {"1": "grey", "L": "grey", "LA": "alpha", "P": "palette", "PA": "alpha", "RGBA": "alpha", "RGBX": "alpha"}
MAX_BYTES = 1 << 30  # of a file: more than any takes that is small enough to be decoded
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # never EPS and the like, which run programs

# Once per process and not around each call: ``warnings.catch_warnings`` is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.|pipeline\.sources\.images$")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def decode_image(raw: bytes) -> Picture:
    """An image file's first frame, and what it was before it was made RGB.

    Grey, palette, CMYK and alpha images are converted by Pillow's ``convert("RGB")``, and EXIF orientation is not
    applied (but to a TIFF, by Pillow itself): both as torchvision's ``ImageFolder`` does. Pillow cuts off grey values
    above 255 where a channel has more than 8 bits, which turns most of such an image white: these are refused.

    Raises:
        Undecodable: with a reason that depends on the content alone (it is part of an output's bytes).
        MemoryError: a lack of memory is not the image's fault.
    """
    try:
        with _open(raw) as image:
            refuse_deep(image)
            converted = _converted(image)
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:
        raise _undecodable(error) from None
    return Picture(pixels.transpose(2, 0, 1), converted)


def refuse_deep(image: Image.Image) -> None:
    """Raise Undecodable for an image of which Pillow's conversion to RGB would cut values off."""
    if image.mode.partition(";")[0] in ("I", "F"):
        raise Undecodable("more than 8 bits a channel; convert it to 8 bits first")


def _converted(image: Image.Image) -> str:
    """What keeps an image from being one 8-bit RGB picture, in a word; call before its pixels are loaded."""
    if getattr(image, "is_animated", False):
        return "animated"
    if any(";16" in str(tile) for tile in getattr(image, "tile", ())):
        return "16-bit"
    return "" if image.mode == "RGB" else _MODES.get(image.mode, image.mode)


def read_image(path: str | os.PathLike[str]) -> bytes:
    """An image file whole. Raises OSError, and Undecodable where it is larger than any image."""
    with open(regular_descriptor(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise too_large(size)
        return file.read()


def too_large(size: int) -> Undecodable:
    """Of a file of so many bytes."""
    return Undecodable(f"too large: {size:,} bytes, at most {MAX_BYTES:,}")


def header_size(raw: bytes) -> tuple[int, int]:
    """(height, width) from the header, without decoding the pixels. Raises as ``decode_image``."""
    try:
        with _open(raw) as image:
            return image.height, image.width
    except Exception as error:
        raise _undecodable(error) from None


def _open(raw: bytes) -> Image.Image:
    if not raw:
        raise Undecodable("empty file")
    image = Image.open(io.BytesIO(raw), formats=FORMATS)
    if max(image.size) > MAX_SIDE:
        raise Undecodable(f"too large: {image.height} x {image.width} pixels, at most {MAX_SIDE} a side")
    return image


def _undecodable(error: Exception) -> Exception:
    """A short reason of our own: Pillow's texts carry memory addresses and change between its versions."""
    if isinstance(error, Undecodable | MemoryError):
        return error
    if isinstance(error, UnidentifiedImageError):
        return Undecodable(f"not an image in one of the formats {', '.join(FORMATS)}")
    if isinstance(error, Image.DecompressionBombError):
        return Undecodable("too many pixels")
    if "truncated" in str(error).lower():
        return Undecodable("truncated")
    return Undecodable("damaged")
