"""How a block describes its code: the lengths of the codes, compressed (RFC 1951, section 3.2.7)."""

from typing import Any

import numpy as np

from pipeline.formats.deflate.huffman import SYMBOLS, canonical_codes, code_lengths
from pipeline.numerics.jit import step

LENGTHS = SYMBOLS + 2  # of the bytes and the end of block, and of two distance codes
_ALPHABET = 19  # lengths 0 to 15, and three kinds of runs
_LONGEST = np.int64(7)  # bits of a code of this alphabet, which is stored in 3 bits
SAME, ZEROS, MANY_ZEROS = 16, 17, 18
# The alphabet in the order in which the lengths of its codes are stored.
_STORED = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
FIRST = 17  # bits of the fields before these: of the block, and three counts


@step
def describe(lengths: Any, fields: Any, widths: Any, scratch: Any) -> Any:
    """Computes the fields of a block's header, from its type to the end of the description of its code.

    Args:
        lengths: int64 (LENGTHS,), of the code; the last two are those of distances, and 1.
        fields: uint64 (at least 2 * LENGTHS,), filled with the values of the fields.
        widths: uint64, likewise: the bits of each field.
        scratch: of ``huffman.scratch()``.

    Returns:
        the number of fields.
    """
    symbols, extras = np.empty(LENGTHS, np.int64), np.empty(LENGTHS, np.int64)
    count = _runs(lengths, symbols, extras)
    counts, bits, codes = np.zeros(_ALPHABET, np.int64), np.empty(_ALPHABET, np.int64), np.empty(_ALPHABET, np.uint32)
    for place in range(count):
        counts[symbols[place]] += 1
    code_lengths(counts, _LONGEST, bits, scratch)
    canonical_codes(bits, codes)
    stored = _ALPHABET
    while stored > 4 and bits[_STORED[stored - 1]] == 0:
        stored -= 1
    # The type of the block; the numbers of lengths of bytes, of distances and of this alphabet, each above its least.
    fields[0] = 2 << 0 | (SYMBOLS - 257) << 2 | (LENGTHS - SYMBOLS - 1) << 7 | (stored - 4) << 12
    widths[0] = FIRST - 1
    for place in range(stored):
        fields[1 + place], widths[1 + place] = bits[_STORED[place]], 3
    used = 1 + stored
    for place in range(count):
        symbol = symbols[place]
        fields[used], widths[used] = codes[symbol] & 0xFFFF, codes[symbol] >> 16
        used += 1
        if symbol >= SAME:
            fields[used], widths[used] = extras[place], 2 if symbol == SAME else 3 if symbol == ZEROS else 7
            used += 1
    return used


@step
def _runs(lengths: Any, symbols: Any, extras: Any) -> Any:
    """Divides code lengths into runs of equal ones, each as long as possible, and writes these with few symbols.

    Zeros: ``MANY_ZEROS`` (11 to 138 of them) as long as at least 11 are left, then ``ZEROS`` (3 to 10). Others: the length
    itself, then ``SAME`` (3 to 6 times the length before it) as long as at least 3 are left. The rest one by one.

    Args:
        symbols: filled with the symbols.
        extras: filled with what follows a symbol of a run: its length above the least.

    Returns:
        the number of symbols.
    """
    count, place = 0, 0
    while place < len(lengths):
        length, run = lengths[place], 1
        while place + run < len(lengths) and lengths[place + run] == length:
            run += 1
        place += run
        if length > 0:
            symbols[count] = length
            count, run = count + 1, run - 1
        while run >= 3:
            if length > 0:
                symbol, least, part = SAME, 3, min(run, 6)
            elif run >= 11:
                symbol, least, part = MANY_ZEROS, 11, min(run, 138)
            else:
                symbol, least, part = ZEROS, 3, run
            symbols[count], extras[count] = symbol, part - least
            count, run = count + 1, run - part
        for _ in range(run):
            symbols[count] = length
            count += 1
    return count
