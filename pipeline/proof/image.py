"""A PNG member to pixels: its chunks checked one by one, then decoded by Pillow."""

import io
import struct
import zlib

from PIL import PngImagePlugin

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter and interlace methods
_CHUNKS = (b"IDAT", b"IEND")
_SLACK = 1 << 16


class BadImage(Exception):
    """The member is no PNG as claimed; the text says why."""


def largest(shape: tuple[int, int]) -> int:
    """Bytes that a PNG of this (height, width) can have: deflate never adds more than a little to what it is given."""
    raw = shape[0] * (1 + 3 * shape[1])
    return raw + raw // 100 + _SLACK


def decode(content: bytes, shape: tuple[int, int]) -> bytes:
    """The pixels of an 8-bit RGB PNG file: 3 h w bytes, row by row, interleaved.

    Args:
        shape: (height, width) that it must have; nothing larger is ever decoded.

    Raises:
        BadImage: why it is not such a file.
    """
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
    if tuple(rest) != _RGB:
        raise BadImage("not an 8-bit RGB image")
