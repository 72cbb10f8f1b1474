"""Deflate streams: blocks of Huffman codes, written bit by bit into 64-bit words (RFC 1951, sections 3.1 and 3.2)."""

from typing import Any

import numpy as np

from pipeline.formats.deflate.code_header import LENGTHS, describe
from pipeline.formats.deflate.huffman import LONGEST, SYMBOLS, canonical_codes, code_lengths
from pipeline.numerics.jit import step

BLOCK = 32768  # bytes of data of a block
_END = 256  # the symbol that ends a block
_HEADER = 512  # bytes that the header and the end of a block take at most
# Typed constants: numba would turn mixed arithmetic into floats or signed numbers.
_1, _6, _16, _63, _64, _LOW16 = (np.uint64(n) for n in (1, 6, 16, 63, 64, 0xFFFF))


def max_words(size: int) -> int:
    """Returns how many 64-bit words the stream of ``size`` bytes takes at most."""
    return int((size * LONGEST // 8 + (size // BLOCK + 1) * _HEADER) // 8 + 1)


@step
def deflate(data: Any, words: Any, scratch: Any) -> Any:
    """Compresses data into one deflate stream.

    The data is divided into blocks of ``BLOCK`` bytes. A rest of less than half a block belongs to the block before it.

    Args:
        data: uint8 (n,), n at least 1.
        words: uint64 (max_words(n),), filled with the stream, the first bit of each word lowest.
        scratch: of ``huffman.scratch()``.

    Returns:
        the number of bytes of the stream. The last one is filled with zero bits.
    """
    counts, lengths = np.empty(SYMBOLS, np.int64), np.empty(LENGTHS, np.int64)
    fields, widths = np.empty(2 * LENGTHS, np.uint64), np.empty(2 * LENGTHS, np.uint64)
    codes = np.empty(SYMBOLS, np.uint32)
    tables = np.empty((4, 256), np.int32)
    at, buffer, used = np.uint64(0), np.uint64(0), np.uint64(0)
    start = 0
    while start < len(data):
        stop = start + BLOCK
        if len(data) - stop < BLOCK // 2:
            stop = len(data)
        block = data[start:stop]
        _count(block, tables, counts)
        code_lengths(counts, LONGEST, lengths[:SYMBOLS], scratch)
        canonical_codes(lengths[:SYMBOLS], codes)
        lengths[SYMBOLS], lengths[SYMBOLS + 1] = 1, 1
        last = np.uint64(1) if stop == len(data) else np.uint64(0)
        at, buffer, used = _put(words, at, buffer, used, last, _1)
        for place in range(describe(lengths, fields, widths, scratch)):
            at, buffer, used = _put(words, at, buffer, used, fields[place], widths[place])
        at, buffer, used = _put_bytes(block, codes, words, at, buffer, used)
        start = stop
    words[at] = buffer
    return np.int64(at) * 8 + (np.int64(used) + 7) // 8


@step
def _count(block: Any, tables: Any, counts: Any) -> None:
    """Counts the bytes of a block, and its end once.

    Neighbouring bytes are counted in four tables: equal neighbours would wait for each other's sum otherwise.

    Args:
        block: uint8 (n,).
        tables: int32 (4, 256), room.
        counts: int64 (SYMBOLS,), filled.
    """
    tables[:] = 0
    whole = len(block) & ~3
    for place in range(np.uint64(0), np.uint64(whole), np.uint64(4)):
        tables[0, block[place]] += 1
        tables[1, block[place + np.uint64(1)]] += 1
        tables[2, block[place + np.uint64(2)]] += 1
        tables[3, block[place + np.uint64(3)]] += 1
    for place in range(whole, len(block)):
        tables[0, block[place]] += 1
    for value in range(256):
        counts[value] = tables[0, value] + tables[1, value] + tables[2, value] + tables[3, value]
    counts[_END] = 1


@step
def _put(words: Any, at: Any, buffer: Any, used: Any, bits: Any, width: Any) -> Any:
    """Appends bits to the stream. All arguments but ``words`` are uint64.

    Args:
        words: the stream; words before ``at`` are complete.
        at: the word that is being filled.
        buffer: its bits so far.
        used: their number, below 64.
        bits: the bits to append, the first one lowest.
        width: their number, at most 56.

    Returns:
        at, buffer and used after it.
    """
    buffer |= bits << used
    words[at] = buffer
    total = used + width
    # If the word is full, what did not fit into it begins the next one. Two shifts: one by 64 bits is undefined.
    if total >= _64:
        buffer = (bits >> _1) >> (_63 - used)
    return at + (total >> _6), buffer, total & _63


@step
def _put_bytes(block: Any, codes: Any, words: Any, at: Any, buffer: Any, used: Any) -> Any:
    """Appends the codes of a block's bytes and of its end: four codes at a time, which together have at most 56 bits.

    Args:
        block: uint8 (n,).
        codes: uint32 (SYMBOLS,) of ``canonical_codes``.
        words, at, buffer, used: as in ``_put``, also returned.
    """
    whole = len(block) & ~3
    for place in range(np.uint64(0), np.uint64(whole), np.uint64(4)):
        first, second = np.uint64(codes[block[place]]), np.uint64(codes[block[place + np.uint64(1)]])
        third, fourth = np.uint64(codes[block[place + np.uint64(2)]]), np.uint64(codes[block[place + np.uint64(3)]])
        first_width, third_width = first >> _16, third >> _16
        left_width, right_width = first_width + (second >> _16), third_width + (fourth >> _16)
        left = (first & _LOW16) | ((second & _LOW16) << first_width)
        right = (third & _LOW16) | ((fourth & _LOW16) << third_width)
        at, buffer, used = _put(words, at, buffer, used, left | (right << left_width), left_width + right_width)
    for place in range(whole, len(block)):
        code = np.uint64(codes[block[place]])
        at, buffer, used = _put(words, at, buffer, used, code & _LOW16, code >> _16)
    end = np.uint64(codes[_END])
    return _put(words, at, buffer, used, end & _LOW16, end >> _16)
