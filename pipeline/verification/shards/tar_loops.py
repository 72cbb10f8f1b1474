"""The loops of a proof over the bytes of tars, compiled by numba.

Written from the specifications (POSIX.1-1988 USTAR; PNG, W3C third edition; NVIDIA DALI's index of WebDataset files),
independently of what wrote the output. They only say whether all is as it should be; what is wrong, and where, is for
``walk`` to tell.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

BLOCK = 512
NAME = 100  # bytes of a member's name
PNG_HEAD = 33  # bytes of a PNG file before its first chunk of pixels: signature and header chunk
_TAIL = 16  # behind them: the checksum of that chunk, and the end chunk
# What ``samples`` gives of each, in this order.
START, SIZE, LABEL, DATA, LENGTH, CHECKSUM = range(6)  # of the image file, the label's text, and the deflated pixels
SPAN = 6
_MAGIC = np.frombuffer(b"ustar\x0000", np.uint8)  # with its version
_IDS = np.frombuffer(b"0000644\0" + b"0000000\0" * 2, np.uint8)  # mode, owner, group
_TIME = np.frombuffer(b"00000000000\0", np.uint8)
LINE = 2 * NAME + 80  # bytes of a line of an index at most


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
    for i in range(_IDS.size):
        other |= header[100 + i] ^ _IDS[i]
    for i in range(_TIME.size):
        other |= header[136 + i] ^ _TIME[i]
    file, size_ends = header[156] == 48, header[135] == 0
    names = not zeros(header, 157, 257) or not zeros(header, 265, 329) or not zeros(header, 345, 500)
    if other != 0 or not file or not size_ends or names:
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


def _copy(text: Any, out: Any, at: int) -> Any:
    """Copy a text up to its first zero; gives the place behind it."""
    for i in range(text.size):
        if text[i] == 0:
            break
        out[at] = text[i]
        at += 1
    return at


def _number(number: int, out: Any, at: int) -> Any:
    """Write a whole number, not negative, in decimal; gives the place behind it."""
    end, rest = at + 1, number // 10
    while rest > 0:
        end, rest = end + 1, rest // 10
    for i in range(end - 1, at - 1, -1):
        out[i] = 48 + number % 10
        number //= 10
    return end


copy, number = compiled(_copy), compiled(_number)
_IMAGE, _LABEL = np.frombuffer(b"png ", np.uint8), np.frombuffer(b" cls ", np.uint8)


def _index(spans: Any, offset: int, images: Any, labels: Any, digits: Any, lines: Any) -> Any:
    """The lines of a DALI index for some samples.

    Args:
        spans: as ``samples`` fills it.
        offset: of the buffer in the tar, bytes.
        images, labels, digits: as for ``samples``.
        lines: uint8 (n ``LINE``,), filled.

    Returns:
        how far it is filled.
    """
    at = 0
    for i in range(len(images)):
        at = number(offset + spans[i, START], lines, copy(_IMAGE, lines, at))
        lines[at] = 32
        at = number(spans[i, SIZE], lines, at + 1)
        lines[at] = 32
        at = copy(_LABEL, lines, copy(images[i], lines, at + 1))
        at = number(offset + spans[i, LABEL], lines, at)
        lines[at] = 32
        at = number(digits[i], lines, at + 1)
        lines[at] = 32
        at = copy(labels[i], lines, at + 1)
        lines[at] = 10
        at += 1
    return at


samples, index = compiled(_samples), compiled(_index)
