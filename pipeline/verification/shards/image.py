"""An image member to pixels: a PNG's chunks checked one by one, then decoded by Pillow; or a ``.npy`` of float32."""

import io
import struct
import zlib

import numpy as np
from PIL import PngImagePlugin

from pipeline.verification.manifest.claims import MAX_PIXELS

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter and interlace methods
_CHUNKS = (b"IDAT", b"IEND")
_SLACK = 1 << 16
_DEFLATE = 1032  # bytes that one of a deflate stream can stand for at most


class BadImage(Exception):
    """The member is no image as claimed; the text says why."""


def largest(shape: tuple[int, int] | None, form: str) -> int:
    """Bytes that an image of this (height, width) can have: deflate never adds more than a little to what it is given."""
    pixels = shape[0] * (1 + shape[1]) if shape else MAX_PIXELS
    raw = pixels * (12 if form == "npy" else 3)
    return raw + raw // 100 + _SLACK


def size_of(content: bytes, form: str) -> tuple[int, int]:
    """(height, width) that an image says of itself. Raises BadImage."""
    if form == "npy":
        height, width = _npy_header(io.BytesIO(content))
    elif content[:8] != _SIGNATURE or len(content) < 33:
        raise BadImage("no PNG file")
    else:
        width, height = struct.unpack_from(">II", content, 16)
    if not 0 < height * width <= MAX_PIXELS:
        raise BadImage(f"{height} x {width} pixels")
    if form == "png":
        _check_enough(content, height, width)
    return height, width


def _check_enough(content: bytes, height: int, width: int) -> None:
    """Refuse a PNG file that cannot hold so many pixels, before room is made for them."""
    if 3 * height * width > _DEFLATE * len(content):
        raise BadImage(f"{height} x {width} pixels in {len(content):,} bytes")


def decode(content: bytes, shape: tuple[int, int], form: str) -> np.ndarray:
    """The pixels of an image member, (h, w, 3): uint8 of an 8-bit RGB PNG, or float32 of a ``.npy``.

    Args:
        shape: (height, width) that it must have; nothing larger is ever decoded.

    Raises:
        BadImage: why it is not such a file.
    """
    if form == "npy":
        return _decode_npy(content, shape)
    return np.frombuffer(_decode_png(content, shape), np.uint8).reshape(*shape, 3)


def _decode_npy(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    stream = io.BytesIO(content)
    if _npy_header(stream) != shape:
        raise BadImage(f"not float32 of shape {(*shape, 3)}")
    data = content[stream.tell() :]
    if len(data) != 12 * shape[0] * shape[1]:
        raise BadImage(f"{len(data):,} bytes of data, should be {12 * shape[0] * shape[1]:,}")
    image = np.frombuffer(data, "<f4").reshape(*shape, 3)
    if not np.isfinite(image).all():
        raise BadImage("it has values that are no numbers")
    return image


def _npy_header(stream: io.BytesIO) -> tuple[int, int]:
    """(height, width) of a float32 (h, w, 3) array in C order, version 1.0, with the stream behind it."""
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise BadImage("no .npy file of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=1000)
    except BadImage:
        raise
    except Exception:  # numpy raises what it likes on hostile content
        raise BadImage("no .npy file") from None
    if fortran or dtype != np.dtype("<f4") or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise BadImage(f"{dtype} of shape {shape}, not float32 (h, w, 3)")
    return shape[0], shape[1]


def _decode_png(content: bytes, shape: tuple[int, int]) -> bytes:
    _check_chunks(content, shape)
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(content))
        if image.mode != "RGB" or image.size != (shape[1], shape[0]):
            raise BadImage(f"{image.height} x {image.width} {image.mode}, not {shape[0]} x {shape[1]} RGB")
        return image.tobytes()
    except BadImage:
        raise
    except Exception as error:  # decoders raise what they like on hostile content
        raise BadImage(f"Pillow cannot decode it: {' '.join(str(error).split())[:100]}") from None


def _check_chunks(content: bytes, shape: tuple[int, int]) -> None:
    """Header, checksums and end, of which Pillow does not check all. PNG specification, sections 5 and 11."""
    if content[:8] != _SIGNATURE:
        raise BadImage("no PNG file")
    at, first = 8, True
    view = memoryview(content)
    while True:
        if at + 12 > len(content):
            raise BadImage("cut off")
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise BadImage("cut off")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise BadImage(f"damaged: the checksum of its chunk {kind.decode('latin-1')!a} is wrong")
        if first:
            _check_header(content, kind, length, shape)
            first = False
        elif kind not in _CHUNKS:
            raise BadImage(f"it has a chunk {kind.decode('latin-1')!a}, which may change its colours")
        at = end
        if kind == b"IEND":
            break
    if at != len(content):
        raise BadImage(f"{len(content) - at} bytes behind its end")


def _check_header(content: bytes, kind: bytes, length: int, shape: tuple[int, int]) -> None:
    if kind != b"IHDR" or length != 13:
        raise BadImage("no PNG header")
    width, height, *rest = struct.unpack_from(">IIBBBBB", content, 16)
    if (height, width) != shape:
        raise BadImage(f"{height} x {width} pixels, not {shape[0]} x {shape[1]}")
    _check_enough(content, height, width)
    if tuple(rest) != _RGB:
        raise BadImage("not an 8-bit RGB image")
