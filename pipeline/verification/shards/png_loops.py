"""The loops of a proof over PNG images, compiled by numba: unpacked, and their filters undone.

Written from the specification (PNG, W3C third edition), independently of what wrote the output. They only say whether
all is as it should be; what is wrong, and where, is for ``image`` to tell.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled
from pipeline.verification.shards.tar_loops import CHECKSUM, DATA, LENGTH

# Places in arrays are unsigned: one that can be negative costs a comparison each time.
_1, _2, _3, _BYTE = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(255)


def _unfilter(lines: Any, width: int, pixels: Any, start: int) -> bool:
    """PNG's filters undone (section 9). False where a row has an unknown one.

    Args:
        lines: uint8 (h (1 + 3 w),): of each row the filter, and its bytes.
        pixels: uint8, of which h 3 w are filled from ``start`` on.
    """
    row, zero = _3 * np.uint64(width), np.uint64(0)
    above: Any = np.zeros(3 * width, np.uint8)
    up, out = zero, np.uint64(start)
    for at in range(zero, np.uint64(lines.size), row + _1):
        kind, line = lines[at], at + _1
        red, green, blue = zero, zero, zero
        if kind == 0:
            for i in range(row):
                pixels[out + i] = lines[line + i]
        elif kind == 1:
            for i in range(row):
                pixels[out + i] = lines[line + i] + (pixels[out + i - _3] if i >= _3 else np.uint8(0))
        elif kind == 2:
            for i in range(row):
                pixels[out + i] = lines[line + i] + above[up + i]
        elif kind == 3:
            for i in range(zero, row, _3):
                red = (np.uint64(lines[line + i]) + ((red + np.uint64(above[up + i])) >> _1)) & _BYTE
                green = (np.uint64(lines[line + i + _1]) + ((green + np.uint64(above[up + i + _1])) >> _1)) & _BYTE
                blue = (np.uint64(lines[line + i + _2]) + ((blue + np.uint64(above[up + i + _2])) >> _1)) & _BYTE
                pixels[out + i], pixels[out + i + _1], pixels[out + i + _2] = red, green, blue
        elif kind == 4:
            for i in range(row):
                left: Any = np.int64(pixels[out + i - _3]) if i >= _3 else 0
                corner: Any = np.int64(above[up + i - _3]) if i >= _3 else 0
                over: Any = np.int64(above[up + i])
                by_left, by_up, by_corner = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
                nearest = left if by_left <= by_up and by_left <= by_corner else over if by_up <= by_corner else corner
                pixels[out + i] = np.uint8(lines[line + i] + nearest)
        else:
            return False
        above, up, out = pixels, out, out + row
    return True


unfilter = compiled(_unfilter)


def _sealed(buffer: Any, start: Any, stop: Any, checksum: Any) -> bool:
    """Whether a zlib stream (RFC 1950) begins and ends as that of bytes with this Adler-32 does."""
    method, flags, told = np.int64(buffer[start]), np.int64(buffer[start + 1]), np.uint32(0)
    for i in range(stop - 4, stop):
        told = told << np.uint32(8) | np.uint32(buffer[i])
    plain = method & 15 == 8 and method >> 4 < 8 and flags & 32 == 0 and (256 * method + flags) % 31 == 0
    return bool(plain and told == checksum)


sealed = compiled(_sealed)


def _one_block(buffer: Any, start: Any) -> bool:
    """Whether a deflate stream (RFC 1951) is one block with codes of its own, not more of them than there can be.

    Of other streams libdeflate takes some that zlib refuses: of 288 lengths or 32 distances, and, in blocks of fixed codes,
    of lengths that have no meaning.
    """
    head = np.int64(buffer[start]) | np.int64(buffer[start + 1]) << 8
    return bool(head & 7 == 5 and head >> 3 & 31 <= 286 - 257 and head >> 8 & 31 <= 30 - 1)


one_block = compiled(_one_block)


def _decode(
    buffer: Any,
    spans: Any,
    first: int,
    unpack: Any,
    crc32: Any,
    adler32: Any,
    decompressor: int,
    lines: Any,
    done: Any,
    pixels: Any,
) -> Any:
    """Images of one size, of which each is what its checksums, its rows and its filters should be.

    Args:
        buffer: uint8, of the tar.
        spans: int64 (n, ``SPAN``), as ``tar_loops.samples`` fills it.
        first: the image to begin with.
        unpack, crc32, adler32, decompressor: of ``libdeflate``.
        lines: uint8 (m, h (1 + 3 w) or more), to work in.
        done: bool (n,): whether an image's line in ``lines`` holds its rows already.
        pixels: uint8 (n, h, 3 w), filled.

    Returns:
        n; or the first image that zlib has to unpack, which gives all later ones their turn; -1 where one is wrong.
    """
    _, height, row = pixels.shape
    size, reader, nothing = np.uint64(height * (1 + row)), np.uint64(decompressor), np.uint64(0)
    flat, tar = pixels.reshape(-1), buffer.ctypes.data
    for i in range(first, len(spans)):
        start, length = spans[i, DATA], np.uint64(spans[i, LENGTH])
        data, kind = tar + np.uint64(start), np.uint64(4)  # bytes before the data, which the checksum covers as well
        if crc32(np.uint32(0), data - kind, length + kind) != spans[i, CHECKSUM]:
            return -1
        rows = lines[i % len(lines)]
        text, stop = rows.ctypes.data, start + spans[i, LENGTH]
        if not (done[i] and sealed(buffer, start, stop, adler32(np.uint32(1), text, size))):
            if not one_block(buffer, start + 2):
                return i
            if unpack(reader, data, length, text, size, nothing) != 0:
                return -1
        if not unfilter(rows[: height * (1 + row)], row // 3, flat, i * height * row):
            return -1
    return len(spans)


decode = compiled(_decode)
