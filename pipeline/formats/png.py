"""Encodes pixels as PNG files, fast and lossless.

Other encoders are slow because they try all five filters on every row and search for matches, which photographs do not
have. Here one filter serves all rows of an image, and NumPy applies it to the whole batch: ``AVERAGE`` for photographs and
low-rank images, ``NONE`` for high-rank-only images, whose neighbouring pixels are hardly correlated. Deflate uses Huffman
codes only (zlib-ng). Up to ``SMALL`` bytes, where building the code takes most of the time, libdeflate is faster.
The bytes of both depend on the image alone. ISA-L's level 1 is faster, but its bytes depend on the processor
(docs/performance.md lists sizes and times). Format: PNG specification (W3C, third edition), sections 5, 9 and 11.
"""

import struct
import zlib

import deflate
import numpy as np
from zlib_ng import zlib_ng

NONE = 0
AVERAGE = 3
# Part of an output's specification: another encoder writes other bytes for the same pixels.
ENCODER = "png average/none, libdeflate-1 to 8 KB, huffman-only blocks of 32 KB above"
SMALL = 8192  # bytes of an image's rows: about 52 x 52 pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IDAT_CRC = zlib.crc32(b"IDAT")
# zlib-ng's largest window and block: its input passes through the window, and each block gets a Huffman code.
_WINDOW, _BLOCKS = 15, 9


def encode(pixels: np.ndarray, filter_type: int) -> list[bytes]:
    """Returns one PNG file (8-bit RGB, no ancillary chunks) per image.

    Args:
        pixels: uint8 (n, 3, h, w).
        filter_type: ``NONE`` or ``AVERAGE`` (PNG specification, 9.2).
    """
    _, _, height, width = pixels.shape
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    tail = _chunk(b"IEND", b"")
    return [b"".join((head, *_data_chunk(rows), tail)) for rows in _scanlines(pixels, filter_type)]


def _scanlines(pixels: np.ndarray, filter_type: int) -> np.ndarray:
    """Returns uint8 (n, h, 1 + 3 w): the filter byte of each row, then its filtered, interleaved samples."""
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
    """Returns uint8 (n, h 3 w): floor((above + left) / 2) of every sample, computed without overflow."""
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
    """Returns the parts of the IDAT chunk: length, type, compressed rows, CRC."""
    if rows.size <= SMALL:
        data = bytes(deflate.zlib_compress(rows, 1))
    else:
        huffman = zlib_ng.compressobj(level=1, wbits=_WINDOW, memLevel=_BLOCKS, strategy=zlib_ng.Z_HUFFMAN_ONLY)
        data = huffman.compress(rows) + huffman.flush()
    crc = zlib_ng.crc32(data, _IDAT_CRC)
    return len(data).to_bytes(4, "big"), b"IDAT", data, crc.to_bytes(4, "big")
