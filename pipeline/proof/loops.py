"""The proof's loops over bytes and pixels, compiled by numba: what all images of an output go through.

Written from the specifications (POSIX.1-1988 USTAR; PNG, W3C third edition), independently of what wrote the output.
They only say whether all is as it should be; what is wrong, and where, is for ``walk``, ``image`` and ``pixels`` to tell.
"""

from typing import Any

import numpy as np

from pipeline.jit import compiled

BLOCK = 512
NAME = 100  # bytes of a member's name
PNG_HEAD = 33  # bytes of a PNG file before its first chunk of pixels: signature and header chunk
_TAIL = 16  # behind them: the checksum of that chunk, and the end chunk
# What ``samples`` gives of each, in this order.
START, SIZE, LABEL, DATA, LENGTH, CHECKSUM = range(6)  # of the image file, the label's text, and the deflated pixels
SPAN = 6
_MAGIC = np.frombuffer(b"ustar\x0000", np.uint8)  # with its version
# Rows whose squared grey levels add up in 32 bits.
_ROWS = 1 << 16


def _octal(buffer: Any, at: int, digits: int) -> Any:
    """A whole number of ``digits`` octal digits, or -1."""
    number: Any = 0
    for i in range(at, at + digits):
        digit = np.int64(buffer[i]) - 48
        if digit < 0 or digit > 7:
            return -1
        number = number * 8 + digit
    return number


octal = compiled(_octal)


def _zeros(buffer: Any, start: int, stop: int) -> Any:
    some = np.uint8(0)
    part = buffer[start:stop]
    for i in range(part.size):
        some |= part[i]
    return some == 0


zeros = compiled(_zeros)


def _member(buffer: Any, at: int, name: Any) -> Any:
    """Bytes of the plain file of that name whose USTAR header begins at ``at``; -1 where there is no such header."""
    header, total = buffer[at : at + BLOCK], np.uint32(0)
    for i in range(BLOCK):
        total += header[i]
    for i in range(148, 156):  # the checksum counts as spaces
        total += np.uint32(32) - header[i]
    if octal(header, 148, 6) != total or header[154] != 0 or header[155] != 32:
        return -1
    other = np.uint8(0)
    for i in range(NAME):
        other |= header[i] ^ name[i]
    for i in range(_MAGIC.size):
        other |= header[257 + i] ^ _MAGIC[i]
    file, size_ends = header[156] == 48, header[135] == 0
    if other != 0 or not file or not size_ends or not zeros(header, 345, 500):
        return -1
    return octal(header, 124, 11)


member = compiled(_member)


def _samples(
    buffer: Any,
    at: int,
    end: int,
    first: int,
    images: Any,
    labels: Any,
    texts: Any,
    digits: Any,
    head: Any,
    tail: Any,
    most: int,
    spans: Any,
) -> tuple[int, int]:
    """Go through PNG files and their labels, as they lie side by side in a tar.

    Args:
        buffer: uint8, of the tar.
        at, end: where the next sample begins, and how far the buffer is filled.
        first: which of the samples that is.
        images, labels: uint8 (n, ``NAME``): the members' names, filled up with zeros.
        texts, digits: uint8 (n, 10) and int64 (n,): what the labels must say, and its length.
        head, tail: uint8: how a PNG file of the wanted size begins, and its end chunk.
        most: bytes of the largest file.
        spans: int64 (n, ``SPAN``), filled: places in the buffer, bytes, and the checksum that the file tells.

    Returns:
        how many samples have been gone through, and where the next one begins; -1 in place of the number where
        something is not as it should be.
    """
    for done in range(first, len(images)):
        if at + BLOCK > end:
            return done, at
        size = member(buffer, at, images[done])
        if size < PNG_HEAD + 8 + _TAIL or size > most:
            return -1, at
        file, data = at + BLOCK, at + BLOCK + PNG_HEAD + 8
        label = file + size + -size % BLOCK
        if label + 2 * BLOCK > end:
            return done, at
        for i in range(PNG_HEAD):
            if buffer[file + i] != head[i]:
                return -1, at
        length = np.int64(0)
        for i in range(4):
            length = length * 256 + buffer[data - 8 + i]
        idat = (73, 68, 65, 84)
        for i in range(4):
            if buffer[data - 4 + i] != idat[i]:
                return -1, at
        if length != size - PNG_HEAD - 8 - _TAIL:
            return -1, at
        checksum = np.int64(0)
        for i in range(4):
            checksum = checksum * 256 + buffer[data + length + i]
        for i in range(12):
            if buffer[data + length + 4 + i] != tail[i]:
                return -1, at
        if not zeros(buffer, file + size, label):
            return -1, at
        if member(buffer, label, labels[done]) != digits[done]:
            return -1, at
        for i in range(digits[done]):
            if buffer[label + BLOCK + i] != texts[done, i]:
                return -1, at
        if not zeros(buffer, label + BLOCK + digits[done], label + 2 * BLOCK):
            return -1, at
        spans[done, START], spans[done, SIZE], spans[done, LABEL] = file, size, label + BLOCK
        spans[done, DATA], spans[done, LENGTH], spans[done, CHECKSUM] = data, length, checksum
        at = label + 2 * BLOCK
    return len(images), at


def _unfilter(lines: Any, pixels: Any) -> bool:
    """PNG's filters undone (section 9). False where a row has an unknown one.

    Args:
        lines: uint8 (n, h, 1 + 3 w): of each row the filter, and its bytes.
        pixels: uint8 (n, h, 3 w), filled.
    """
    nothing = np.zeros(pixels.shape[2], np.uint8)
    for image in range(lines.shape[0]):
        above = out = nothing
        for row in range(lines.shape[1]):
            above, filtered, out = out, lines[image, row], pixels[image, row]
            kind = filtered[0]
            if kind == 0:
                for i in range(out.size):
                    out[i] = filtered[1 + i]
                continue
            if kind == 1:
                for i in range(out.size):
                    out[i] = filtered[1 + i] + (out[i - 3] if i >= 3 else np.uint8(0))
            elif kind == 2:
                for i in range(out.size):
                    out[i] = filtered[1 + i] + above[i]
            elif kind == 3:
                red: Any = 0
                green: Any = 0
                blue: Any = 0
                for i in range(out.size // 3):
                    red = (filtered[3 * i + 1] + ((red + above[3 * i]) >> 1)) & 255
                    green = (filtered[3 * i + 2] + ((green + above[3 * i + 1]) >> 1)) & 255
                    blue = (filtered[3 * i + 3] + ((blue + above[3 * i + 2]) >> 1)) & 255
                    out[3 * i], out[3 * i + 1], out[3 * i + 2] = red, green, blue
            elif kind == 4:
                for i in range(out.size):
                    left: Any = np.int64(out[i - 3]) if i >= 3 else 0
                    corner: Any = np.int64(above[i - 3]) if i >= 3 else 0
                    up: Any = np.int64(above[i])
                    by_left, by_up, by_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                    nearest = (
                        left if by_left <= by_up and by_left <= by_corner else up if by_up <= by_corner else corner
                    )
                    out[i] = np.uint8(filtered[1 + i] + nearest)
            else:
                return False
    return True


def _moments(rows: Any, sums: Any, squares: Any) -> None:
    """Add up grey levels and their squares.

    Args:
        rows: uint8 (n, 3 w), channels interleaved.
        sums, squares: uint64 (3,), added to.
    """
    for start in range(0, rows.shape[0], _ROWS):
        first, second = np.zeros(rows.shape[1], np.uint32), np.zeros(rows.shape[1], np.uint32)
        for row in range(start, min(start + _ROWS, rows.shape[0])):
            for i in range(rows.shape[1]):
                level = np.uint32(rows[row, i])
                first[i] += level
                second[i] += level * level
        for i in range(rows.shape[1]):
            sums[i % 3] += first[i]
            squares[i % 3] += second[i]


def _add_up(image: Any, low: Any, high: Any) -> bool:
    """Whether parts can be those of an image (as ``law.Bounds`` has it). All uint8, flat, of the same length."""
    wrong: Any = 0
    for i in range(image.size):
        x, a, b = np.int16(image[i]), np.int16(low[i]), np.int16(high[i])
        total = np.int16(np.int16(a + b) - x)
        wrong += (total > np.int16(128)) & (min(a, b) > 0) | (total < np.int16(128)) & (max(a, b) < 255)
    return bool(wrong == 0)


def _narrow(least: Any, most: Any, low: Any, high: Any) -> bool:
    """Narrow what an unknown image can be by two parts; False where there is none. ``least``, ``most``: int16."""
    wrong: Any = 0
    for i in range(low.size):
        a, b = np.int16(low[i]), np.int16(high[i])
        total = np.int16(a + b - np.int16(128))
        least[i] = max(least[i], total if (a != 0) & (b != 0) else np.int16(0))
        most[i] = min(most[i], total if (a != 255) & (b != 255) else np.int16(255))
        wrong += least[i] > most[i]
    return bool(wrong == 0)


def _differ(band: Any, more: Any, less: Any) -> bool:
    """Whether a band is the difference of the images at its ends, where neither of these is clipped. uint8, flat."""
    wrong: Any = 0
    for i in range(band.size):
        a, b = np.int16(more[i]), np.int16(less[i])
        difference = min(max(np.int16(a - b + np.int16(128)), np.int16(0)), np.int16(255))
        wrong += (min(a, b) > 0) & (max(a, b) < 255) & (np.int16(band[i]) != difference)
    return bool(wrong == 0)


samples, unfilter, moments = compiled(_samples), compiled(_unfilter), compiled(_moments)
add_up, narrow, differ = compiled(_add_up), compiled(_narrow), compiled(_differ)
