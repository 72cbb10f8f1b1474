"""Lengths of a Huffman code, and the canonical codes of these lengths (RFC 1951, section 3.2.2)."""

from typing import Any

import numpy as np

from pipeline.numerics.jit import step

SYMBOLS = 257  # the byte values and the end of a block: the largest alphabet
# Bits of a code. zlib allows 15; four codes of 14 bits can be appended to a stream at once, and files grow by less than
# 0.01 %. NumPy numbers: numba would compile a function again for every plain number that is passed to it as a constant.
LONGEST = np.int64(14)
_DIGIT = 6  # bits of a digit of the radix sort
_BINS = 1 << _DIGIT
_MASK = _BINS - 1


def scratch() -> np.ndarray:
    """Returns the scratch array of ``code_lengths``, int64 (4, max(SYMBOLS, _BINS))."""
    return np.empty((4, SYMBOLS), np.int64)


@step
def code_lengths(counts: Any, limit: Any, lengths: Any, scratch: Any) -> None:
    """Computes the lengths of a Huffman code in which no code is longer than ``limit`` bits.

    Args:
        counts: int64 (n,), how often each symbol occurs; at least two symbols occur.
        limit: bits; 2 ** limit must be at least n.
        lengths: int64 (n,), filled; 0 for a symbol that does not occur.
        scratch: of ``scratch()``.
    """
    symbols, weights, bins = scratch[0], scratch[2], scratch[3]
    used, largest = 0, 0
    for symbol in range(len(counts)):
        lengths[symbol] = 0
        if counts[symbol] > 0:
            symbols[used] = symbol
            used += 1
            largest = max(largest, counts[symbol])
    order = _sort_by_count(counts, symbols[:used], scratch[1][:used], largest, bins)
    for place in range(used):
        weights[place] = counts[order[place]]
    _depths(weights[:used])
    if weights[0] > limit:
        _shorten(weights[:used], limit, bins)
    for place in range(used):
        lengths[order[place]] = weights[place]


@step
def _sort_by_count(counts: Any, order: Any, other: Any, largest: Any, bins: Any) -> Any:
    """Returns the symbols by ascending count, those of equal count in their previous order: a stable radix sort.

    Args:
        order, other: int64 (used,), the symbols, and room for them. One of the two is returned.
        largest: the largest count.
        bins: room for at least ``_BINS`` numbers.
    """
    shift = 0
    while largest >> shift:
        bins[:_BINS] = 0
        for symbol in order:
            bins[(counts[symbol] >> shift) & _MASK] += 1
        start = 0
        for digit in range(_BINS):
            start, bins[digit] = start + bins[digit], start
        for symbol in order:
            digit = (counts[symbol] >> shift) & _MASK
            other[bins[digit]] = symbol
            bins[digit] += 1
        order, other = other, order
        shift += _DIGIT
    return order


@step
def _depths(weights: Any) -> None:
    """Replaces ascending weights by the depths of their leaves in a Huffman tree, which descend.

    Moffat and Katajainen, "In-place calculation of minimum-redundancy codes" (WADS 1995). The array first holds weights,
    then the parent of each inner node, then depths. Of a leaf and an inner node of equal weight, the leaf is merged first.

    Args:
        weights: int64 (n,), n at least 2.
    """
    count = len(weights)
    # 1. Merge the two lightest nodes, n - 1 times. Inner nodes come into being by ascending weight, so the lightest
    # node is always the first inner node without a parent (root) or the first leaf that is left.
    root, leaf = 0, 0
    for node in range(count - 1):
        weight = 0
        for _ in range(2):
            if leaf >= count or (root < node and weights[root] < weights[leaf]):
                weight += weights[root]
                weights[root] = node  # its parent
                root += 1
            else:
                weight += weights[leaf]
                leaf += 1
        weights[node] = weight
    # 2. An inner node is one level below its parent, which was made later.
    weights[count - 2] = 0
    for node in range(count - 3, -1, -1):
        weights[node] = weights[weights[node]] + 1
    # 3. Level by level: the nodes that are not inner nodes are leaves. The heaviest leaves, at the end, are on top.
    nodes, depth, root, place = 1, 0, count - 2, count - 1
    while nodes > 0:
        inner = 0
        while root >= 0 and weights[root] == depth:
            inner += 1
            root -= 1
        for _ in range(nodes - inner):
            weights[place] = depth
            place -= 1
        nodes, depth = 2 * inner, depth + 1


@step
def _shorten(lengths: Any, limit: Any, bins: Any) -> None:
    """Changes descending code lengths so that none is above ``limit``, as zlib's ``gen_bitlen`` (trees.c) does.

    The result is a complete code, though not always the best of this limit: it costs photographs less than 0.01 %.

    Args:
        lengths: int64 (n,), of a complete code.
        bins: room for more than ``limit`` numbers.
    """
    bins[: limit + 1] = 0
    for length in lengths:
        bins[min(length, limit)] += 1
    # In units of the longest code, a code of b bits takes 2 ** (limit - b); all of them together may take 2 ** limit.
    excess = -(1 << limit)
    for bits in range(1, limit + 1):
        excess += bins[bits] << (limit - bits)
    while excess > 0:
        # The longest code below the limit gets one bit more. That makes room beside it for a code of ``limit`` bits, which
        # frees one unit.
        bits = limit - 1
        while bins[bits] == 0:
            bits -= 1
        bins[bits] -= 1
        bins[bits + 1] += 2
        bins[limit] -= 1
        excess -= 1
    place = 0
    for bits in range(limit, 0, -1):
        for _ in range(bins[bits]):
            lengths[place] = bits
            place += 1


@step
def canonical_codes(lengths: Any, codes: Any) -> None:
    """Computes the codes that belong to these lengths: shorter ones first, those of equal length by symbol.

    Args:
        lengths: int64 (n,), 0 for a symbol without a code.
        codes: uint32 (n,), filled: the code in the order of the stream, its first bit lowest, and its length << 16.
    """
    starts = np.zeros(LONGEST + 2, np.int64)
    for length in lengths:
        starts[length] += 1
    starts[0], code = 0, 0
    for bits in range(1, LONGEST + 1):
        code, starts[bits] = (code + starts[bits]) << 1, code
    for symbol in range(len(lengths)):
        length = lengths[symbol]
        codes[symbol] = 0
        if length > 0:
            codes[symbol] = (_reversed16(starts[length]) >> (16 - length)) | (length << 16)
            starts[length] += 1


@step
def _reversed16(code: Any) -> Any:
    """Returns 16 bits in reverse order."""
    code = ((code & 0x5555) << 1) | ((code >> 1) & 0x5555)
    code = ((code & 0x3333) << 2) | ((code >> 2) & 0x3333)
    code = ((code & 0x0F0F) << 4) | ((code >> 4) & 0x0F0F)
    return ((code & 0x00FF) << 8) | ((code >> 8) & 0x00FF)
