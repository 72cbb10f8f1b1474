"""Encodes pixels as PNG files, whole batches at a time, fast and lossless.

Other encoders are slow because they try all five filters on every row and search for repeated bytes, which photographs do
not have. Here one filter serves all rows of an image: ``AVERAGE`` for photographs and low-rank images, ``NONE`` for
high-rank-only images, whose neighbouring pixels are hardly correlated. ``formats.deflate`` then uses Huffman codes only.
docs/format.md defines the bytes completely. They depend on the image alone: not on the batch, the processor or the version
of a library. Format: PNG specification (W3C, third edition), sections 5, 9, 10 and 11.
"""

import struct
import zlib
from typing import Any

import deflate as libdeflate
import numpy as np

from pipeline.formats.deflate import huffman
from pipeline.formats.deflate.adler import adler32
from pipeline.formats.deflate.blocks import deflate, max_words
from pipeline.formats.packed import PackedFiles, copy
from pipeline.numerics.jit import compiled, step

NONE = 0
AVERAGE = 3

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB = b"\x78\x01"  # RFC 1950: deflate with a window of 32 KB, no dictionary, the fastest level
_BEFORE = 8  # bytes of IDAT before its data: length, type
_AFTER = 8  # bytes after the compressed data: Adler-32, which belongs to the data, and CRC-32


def encode(pixels: np.ndarray, filter_type: int) -> PackedFiles:
    """Returns one PNG file (8-bit RGB, no ancillary chunks) per image.

    Args:
        pixels: uint8 (n, 3, h, w).
        filter_type: ``NONE`` or ``AVERAGE`` (PNG specification, 9.2).
    """
    if filter_type not in (NONE, AVERAGE):
        raise ValueError(f"filter {filter_type} is not {NONE} or {AVERAGE}")
    count, _, height, width = pixels.shape
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + b"\0\0\0\0IDAT" + _ZLIB
    tail = _chunk(b"IEND", b"")
    most = len(head) + 8 * max_words(height * (1 + 3 * width)) + _AFTER + len(tail)
    files, stops = np.empty(count * most, np.uint8), np.empty(count, np.int64)
    _encode(
        np.ascontiguousarray(pixels),
        np.uint8(filter_type),
        np.frombuffer(head, np.uint8),
        np.frombuffer(tail, np.uint8),
        files,
        stops,
    )
    _add_checksums(files, stops, len(head) - len(_ZLIB) - 4, len(tail))
    return PackedFiles(files, stops)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _add_checksums(files: np.ndarray, stops: np.ndarray, kind: int, tail: int) -> None:
    """Writes the CRC-32 of each file's IDAT chunk.

    A CRC is defined by its polynomial, so it may come from any library. libdeflate uses the processor's carry-less
    multiplication: at 32 x 32 it takes half as long as zlib, at 224 x 224 a seventh.

    Args:
        files: uint8, the files one after the other.
        stops: int64 (n,), the end of each file.
        kind: place of the chunk's type in a file; the CRC is over type and data.
        tail: bytes of the chunks after it.
    """
    view, start = files.data, 0
    for stop in stops.tolist():
        crc = stop - tail - 4
        view[crc : crc + 4] = libdeflate.crc32(view[start + kind : crc]).to_bytes(4, "big")
        start = stop


@compiled
def _encode(pixels: Any, filter_type: Any, head: Any, tail: Any, files: Any, stops: Any) -> None:
    """Writes PNG files one after the other, without the CRC-32 of their IDAT chunks.

    Args:
        pixels: uint8 (n, 3, h, w), C-contiguous.
        filter_type: uint8, of every row.
        head: uint8, the file up to the first block, with a length of 0 for the IDAT chunk.
        tail: uint8, the chunks after the IDAT chunk.
        files: uint8, filled.
        stops: int64 (n,), filled with the end of each file.
    """
    count, _, height, width = pixels.shape
    filtered = np.empty((3, height * width), np.uint8)
    lines = np.empty(height * (1 + 3 * width), np.uint8)
    words = np.empty(_words(len(lines)), np.uint64)
    stream = words.view(np.uint8)
    scratch = np.empty((4, huffman.SYMBOLS), np.int64)
    at = 0
    for image in range(count):
        _filter(pixels[image].reshape(3, height * width), width, filter_type, filtered)
        _interleave(filtered, width, filter_type, lines)
        size = deflate(lines, words, scratch)
        copy(head, files, at)
        at += len(head)
        _big_endian(
            files, at - _BEFORE - 2, size + 6
        )  # the chunk's length: two bytes precede the stream, four follow it
        copy(stream[:size], files, at)
        _big_endian(files, at + size, np.int64(adler32(lines)))
        at += size + _AFTER
        copy(tail, files, at)
        at += len(tail)
        stops[image] = at


_words = compiled(max_words)


@step
def _filter(planes: Any, width: Any, filter_type: Any, filtered: Any) -> None:
    """Filters the three planes of an image.

    Args:
        planes: uint8 (3, h w).
        width: pixels of a row.
        filter_type: ``NONE`` or ``AVERAGE``.
        filtered: uint8 (3, h w), filled.
    """
    for channel in range(3):
        plane, result = planes[channel], filtered[channel]
        if filter_type == NONE:
            copy(plane, result, 0)
        else:
            # What is left of a row's first pixel, and above the first row, counts as 0.
            result[0] = plane[0]
            for x in range(1, width):
                result[x] = plane[x] - (plane[x - 1] >> 1)
            size = len(plane) - width
            here, above, left, rest = plane[width:], plane[:size], plane[width - 1 :], result[width:]
            for place in range(size):
                # floor((above + left) / 2) without a ninth bit
                rest[place] = here[place] - ((above[place] & left[place]) + ((above[place] ^ left[place]) >> 1))
            for place in range(0, size, width):
                rest[place] = here[place] - (above[place] >> 1)


@step
def _interleave(planes: Any, width: Any, filter_type: Any, lines: Any) -> None:
    """Writes the rows of a PNG: of each the filter type, then red, green and blue of each pixel.

    Args:
        planes: uint8 (3, h w).
        width: pixels of a row.
        filter_type: uint8.
        lines: uint8 (h (1 + 3 w),), filled.
    """
    at = 0
    for start in range(0, planes.shape[1], width):
        red, green, blue = (
            planes[0, start : start + width],
            planes[1, start : start + width],
            planes[2, start : start + width],
        )
        lines[at] = filter_type
        line = lines[at + 1 : at + 1 + 3 * width]
        for x in range(width):
            line[3 * x] = red[x]
            line[3 * x + 1] = green[x]
            line[3 * x + 2] = blue[x]
        at += 1 + 3 * width


@step
def _big_endian(target: Any, at: Any, value: Any) -> None:
    """Writes a number as 4 bytes, the highest first."""
    for place in range(4):
        target[at + place] = (value >> (24 - 8 * place)) & 0xFF
