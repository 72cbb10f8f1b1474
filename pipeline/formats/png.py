"""Pixels to PNG bytes, fast and lossless.

What makes PNG slow is trying all five filters on every row, and searching for matches that photographs do not have. Here
each image has one filter for all rows, applied in NumPy to the whole batch: ``AVERAGE`` for photographs and low-rank
images, ``NONE`` for high-rank-only ones, whose neighbouring pixels say little about each other. Deflate codes single bytes
(zlib-ng, Huffman only); up to ``SMALL`` bytes, where making the code is what takes the time, libdeflate does that faster.
The bytes of both depend on nothing but the image: neither on the processor, nor on the run, which cannot be said of
ISA-L's faster level 1 (docs/performance.md has the sizes and times behind these choices).
Format: PNG specification (W3C, third edition), sections 5, 9 and 11.
"""

import struct
import zlib

import deflate
import numpy as np
from zlib_ng import zlib_ng

NONE = 0
AVERAGE = 3
# Part of a build's identity: another encoder gives other bytes for the same pixels.
ENCODER = "png average/none, libdeflate-1 to 8 KB, huffman-only blocks of 32 KB above"
SMALL = 8192  # bytes of an image's rows: about 52 x 52 pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IDAT_CRC = zlib.crc32(b"IDAT")
# zlib-ng's largest window and blocks: it copies what it codes through the one, and makes a code for each of the other.
_WINDOW, _BLOCKS = 15, 9


def encode(pixels: np.ndarray, filter_type: int) -> list[bytes]:
    """One PNG file (8-bit RGB, no ancillary chunks) per image.

    Args:
        pixels: uint8 (n, 3, h, w).
        filter_type: ``NONE`` or ``AVERAGE`` (PNG specification, 9.2).
    """
    _, _, height, width = pixels.shape
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    tail = _chunk(b"IEND", b"")
    return [b"".join((head, *_data_chunk(rows), tail)) for rows in _scanlines(pixels, filter_type)]


def _scanlines(pixels: np.ndarray, filter_type: int) -> np.ndarray:
    """uint8 (n, h, 1 + 3 w): filter byte, then the filtered samples of the row, interleaved."""
    count, _, height, width = pixels.shape
    row = 3 * width
    interleaved = np.empty((count, height, width, 3), np.uint8)
    for channel in range(3):  # four times as fast as one transposed copy
        interleaved[..., channel] = pixels[:, channel]
    samples = interleaved.reshape(count, height * row)
    if filter_type == AVERAGE:
        samples -= _average(samples, height, row)
    elif filter_type != NONE:
        raise ValueError(f"filter {filter_type} is not {NONE} or {AVERAGE}")
    lines = np.empty((count, height, 1 + row), np.uint8)
    lines[:, :, 0] = filter_type
    lines[:, :, 1:] = samples.reshape(count, height, row)
    return lines


def _average(samples: np.ndarray, height: int, row: int) -> np.ndarray:
    """uint8 (n, h 3 w): floor((above + left) / 2) of every sample, without leaving a byte."""
    above = np.zeros_like(samples)
    above[:, row:] = samples[:, :-row]
    left = np.zeros_like(samples)
    left[:, 3:] = samples[:, :-3]
    left.reshape(-1, height, row)[:, :, :3] = 0
    half: np.ndarray = above ^ left
    half >>= 1
    above &= left
    half += above
    return half


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _data_chunk(rows: np.ndarray) -> tuple[bytes, bytes, bytes, bytes]:
    if rows.size <= SMALL:
        data = bytes(deflate.zlib_compress(rows, 1))
    else:
        huffman = zlib_ng.compressobj(level=1, wbits=_WINDOW, memLevel=_BLOCKS, strategy=zlib_ng.Z_HUFFMAN_ONLY)
        data = huffman.compress(rows) + huffman.flush()
    crc = zlib_ng.crc32(data, _IDAT_CRC)
    return len(data).to_bytes(4, "big"), b"IDAT", data, crc.to_bytes(4, "big")
