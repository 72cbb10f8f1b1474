"""Decodes the image members of a shard: 8-bit RGB PNG files, and ``.npy`` files of float32.

Stricter than Pillow: every chunk, checksum and byte must be what a builder writes (PNG, W3C third edition, sections 5
and 11).
"""

import functools
import io
import struct
import zlib
from collections.abc import Iterable

import deflate
import numpy as np
from PIL import PngImagePlugin

from pipeline.verification.manifest.claims import MAX_PIXELS
from pipeline.verification.shards.unfilter import unfilter

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IEND = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
_FIRST_CHUNK = 33  # bytes of the signature and of the header chunk
_RGB = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter and interlace methods
_SLACK = 1 << 16
_DEFLATE = 1032  # bytes that one byte of a deflate stream can stand for at most


class BadImage(Exception):
    """The member is no image as claimed; the text says why."""


def largest(shape: tuple[int, int] | None, form: str) -> int:
    """Returns the most bytes that an image of this (height, width) can have: deflate adds only a little to its input."""
    pixels = shape[0] * (1 + shape[1]) if shape else MAX_PIXELS
    raw = pixels * (12 if form == "npy" else 3)
    return raw + raw // 100 + _SLACK


def size_of(content: bytes, form: str) -> tuple[int, int]:
    """Returns the (height, width) in the header of an image. Raises BadImage."""
    if form == "npy":
        height, width = _npy_header(io.BytesIO(content))
    elif content[:8] != _SIGNATURE or len(content) < _FIRST_CHUNK:
        raise BadImage("no PNG file")
    else:
        width, height = struct.unpack_from(">II", content, 16)
    if not 0 < height * width <= MAX_PIXELS:
        raise BadImage(f"{height} x {width} pixels")
    if form == "png":
        _check_enough(content, height, width)
    return height, width


def decode(content: bytes, shape: tuple[int, int], form: str) -> np.ndarray:
    """Returns the pixels of one image member, (h, w, 3): uint8 of a PNG file, float32 of a ``.npy`` file.

    Args:
        shape: (height, width) that it must have; nothing larger is decoded.

    Raises:
        BadImage: why it is not such a file.
    """
    if min(shape) < 1:
        raise BadImage(f"{shape[0]} x {shape[1]} pixels")
    pixels, errors = decode_all([content], shape, form)
    if errors:
        raise errors[0]
    image: np.ndarray = pixels[0]
    return image


def decode_all(
    contents: Iterable[bytes | None], shape: tuple[int, int], form: str
) -> tuple[np.ndarray, dict[int, BadImage]]:
    """Returns the pixels of image members, (n, h, w, 3), and why some of them are no such images, by place.

    Members that are None are missing; their pixels, and those of bad images, mean nothing.
    """
    errors: dict[int, BadImage] = {}
    images: list[bytes] = []
    unpack, blank = (_npy_data, bytes(12 * shape[0] * shape[1])) if form == "npy" else (_png_lines, b"")
    blank = blank or bytes(shape[0] * (1 + 3 * shape[1]))
    for place, content in enumerate(contents):
        try:
            images.append(blank if content is None else unpack(content, shape))
        except BadImage as error:
            errors[place] = error
            images.append(blank)
    joined = b"".join(images)
    if form == "npy":
        return np.frombuffer(joined, "<f4").reshape(-1, *shape, 3), errors
    pixels, valid = unfilter(np.frombuffer(joined, np.uint8).reshape(len(images), shape[0], -1))
    for place in np.flatnonzero(~valid).tolist():
        errors[place] = BadImage("a row has a filter that does not exist")
    return pixels, errors


def decode_by_pillow(content: bytes) -> np.ndarray:
    """Returns what Pillow makes of a PNG file, uint8 (h, w, 3). Raises BadImage."""
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(content))
        return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)
    except Exception as error:  # decoders raise any exception on hostile content
        raise BadImage(f"Pillow cannot decode it: {' '.join(str(error).split())[:100]}") from None


def _npy_data(content: bytes, shape: tuple[int, int]) -> bytes:
    stream = io.BytesIO(content)
    if _npy_header(stream) != shape:
        raise BadImage(f"not float32 of shape {(*shape, 3)}")
    data = content[stream.tell() :]
    if len(data) != 12 * shape[0] * shape[1]:
        raise BadImage(f"{len(data):,} bytes of data, should be {12 * shape[0] * shape[1]:,}")
    if not np.isfinite(np.frombuffer(data, "<f4")).all():
        raise BadImage("it has values that are no numbers")
    return data


def _npy_header(stream: io.BytesIO) -> tuple[int, int]:
    """Returns (height, width) of a float32 (h, w, 3) array in C order, version 1.0, and moves the stream behind it."""
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise BadImage("no .npy file of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=1000)
    except BadImage:
        raise
    except Exception:  # NumPy raises any exception on hostile content
        raise BadImage("no .npy file") from None
    if fortran or dtype != np.dtype("<f4") or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise BadImage(f"{dtype} of shape {shape}, not float32 (h, w, 3)")
    return shape[0], shape[1]


def _png_lines(content: bytes, shape: tuple[int, int]) -> bytes:
    """Returns the rows of a PNG file, each after its filter: h (1 + 3 w) bytes. Raises BadImage."""
    length = len(content) - _FIRST_CHUNK - 24  # of the data, if it is one chunk
    beginning = b"%b%b%b" % (_beginning(shape), length.to_bytes(4, "big"), b"IDAT") if length >= 0 else b""
    if beginning and content.startswith(beginning) and content.endswith(_IEND):
        # The form that a builder writes, which needs no loop over chunks.
        if deflate.crc32(content[37:-16]) != int.from_bytes(content[-16:-12], "big"):
            raise BadImage("damaged: the checksum of its chunk 'IDAT' is wrong")
        data = content[41:-16]
    else:
        data = _image_data(content, shape)
    return _inflate(data, shape[0] * (1 + 3 * shape[1]))


@functools.lru_cache(maxsize=1)
def _beginning(shape: tuple[int, int]) -> bytes:
    """Returns the signature and the header chunk of a PNG file of this (height, width)."""
    header = b"IHDR" + struct.pack(">IIBBBBB", shape[1], shape[0], *_RGB)
    return _SIGNATURE + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def _image_data(content: bytes, shape: tuple[int, int]) -> bytes:
    """Returns the data of all IDAT chunks of a PNG file, and checks every chunk. Raises BadImage."""
    if content[:8] != _SIGNATURE:
        raise BadImage("no PNG file")
    at, kind, parts = 8, b"", []
    while kind != b"IEND":
        if at + 12 > len(content):
            raise BadImage("cut off")
        kind = content[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content):
            raise BadImage("cut off")
        chunk = content[at + 4 : end - 4]
        if deflate.crc32(chunk) != int.from_bytes(content[end - 4 : end], "big"):
            raise BadImage(f"damaged: the checksum of its chunk {kind.decode('latin-1')!a} is wrong")
        if at == 8:
            _check_header(content, chunk, shape)
        elif kind == b"IDAT":
            parts.append(chunk[4:])
        elif kind != b"IEND":
            raise BadImage(f"it has a chunk {kind.decode('latin-1')!a}, which may change its colours")
        at = end
    if at != len(content):
        raise BadImage(f"{len(content) - at} bytes behind its end")
    return b"".join(parts)


def _check_header(content: bytes, chunk: bytes, shape: tuple[int, int]) -> None:
    if chunk[:4] != b"IHDR" or len(chunk) != 17:
        raise BadImage("no PNG header")
    width, height, *rest = struct.unpack_from(">IIBBBBB", chunk, 4)
    if (height, width) != shape:
        raise BadImage(f"{height} x {width} pixels, not {shape[0]} x {shape[1]}")
    _check_enough(content, height, width)
    if tuple(rest) != _RGB:
        raise BadImage("not an 8-bit RGB image")


def _check_enough(content: bytes, height: int, width: int) -> None:
    """Refuses a PNG file that cannot hold so many pixels, before memory is allocated for them."""
    if 3 * height * width > _DEFLATE * len(content):
        raise BadImage(f"{height} x {width} pixels in {len(content):,} bytes")


def _inflate(data: bytes, size: int) -> bytes:
    """Returns the content of a zlib stream (RFC 1950) of just ``size`` bytes. Raises BadImage.

    libdeflate takes half of zlib's time, but accepts streams that zlib and some clients refuse: 288 lengths or 32
    distances, and lengths without a meaning in blocks of fixed codes. So it inflates only streams that are one block with
    codes of its own (RFC 1951, section 3.2.7), with no more codes than there can be. All others go to zlib.
    """
    if size > _DEFLATE * len(data):  # before memory is allocated for it
        raise BadImage(f"{size:,} bytes of rows in {len(data):,} bytes")
    head = int.from_bytes(data[2:4], "little")
    if head & 7 == 5 and head >> 3 & 31 <= 286 - 257 and head >> 8 & 31 <= 30 - 1:
        try:
            content: bytearray = deflate.zlib_decompress(data, size)
            if len(content) == size and deflate.adler32(content) == int.from_bytes(data[-4:], "big"):
                return bytes(content)
        except deflate.DeflateError:
            pass  # zlib says why
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, size + 1)
    except zlib.error as error:
        raise BadImage(f"its pixels cannot be decompressed: {error}") from None
    if len(text) != size:
        raise BadImage(f"{'more' if len(text) > size else 'fewer'} pixels than {size:,} bytes of rows")
    if not reader.eof:
        raise BadImage("its compressed pixels have no end")
    if reader.unused_data:
        raise BadImage(f"{len(reader.unused_data)} bytes behind its compressed pixels")
    return text
