"""Deflate streams that hold bytes and no matches, read several at once by compiled loops.

So are photographs packed, and reading them takes most of a proof's time. A code of these is short: one look in a table of
11 bits gives up to three bytes, and while one stream waits for its look, another one works.
Written from RFC 1951. A stream that has anything else is left to others, and so is to say that one is wrong.
"""

from typing import Any

import numpy as np

from pipeline.numerics.jit import compiled

LANES = 4  # streams that are read at once
SLACK = 32  # bytes behind those of an image that may be written
_WIDTH = 11  # bits that one look in a table takes
_LOOKS = 5  # that 56 bits suffice for
# Of each lane, uint64: bits read and not yet used, how many, the next byte's place, and that of the next one written.
_BITS, _COUNT, _FROM, _TO, _LAST = range(5)
_LENGTHS = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])  # RFC 1951, 3.2.7
_END = 256  # the symbol that ends a block
# Places in arrays are unsigned: one that can be negative costs a comparison each time.
_U = np.uint64
_0, _1, _2, _3, _15, _56, _63 = _U(0), _U(1), _U(2), _U(3), _U(15), _U(56), _U(63)


def _word(buffer: Any, at: Any) -> Any:
    """Eight bytes as one number, which compiles to one load."""
    word = _0
    for i in range(8):
        word |= _U(buffer[at + _U(i)]) << _U(8 * i)
    return word


word = compiled(_word)


def _refill(buffer: Any, bits: Any, at: Any, count: Any) -> Any:
    """Read on until there are 56 bits or more: the bits, the next byte's place, and how many there are."""
    return bits | word(buffer, at) << count, at + ((_63 - count) >> _3), count | _56


refill = compiled(_refill)


def _sort(lengths: Any, counts: Any, order: Any) -> bool:
    """Symbols in the order of their codes, and how many have each length; whether they use all codes there are."""
    counts[:] = 0
    for length in lengths:
        counts[length] += _1
    free: Any = 1
    counts[0] = 0
    next_of = np.zeros(17, np.int64)
    for length in range(1, 16):
        free = 2 * free - np.int64(counts[length])
        if free < 0:
            return False
        next_of[length + 1] = next_of[length] + np.int64(counts[length])
    for symbol in range(lengths.size):
        length = lengths[symbol]
        if length != 0:
            order[next_of[length]] = symbol
            next_of[length] += 1
    return bool(free == 0)


sort = compiled(_sort)


def _singles(counts: Any, order: Any, width: int, table: Any) -> None:
    """Fill ``table`` for the next ``width`` bits: 16 times the symbol, and its length; 0 for longer codes, and no bytes."""
    table[0], filled, at, place = 0, 1, 0, 0
    for length in range(1, width + 1):
        for i in range(filled):  # a bit that comes later lies above those before it
            table[filled + i] = table[i]
        for _ in range(np.int64(counts[length])):
            symbol = order[at]
            table[place] = symbol << _U(4) | _U(length) if symbol < _U(_END) else _0
            at, bit = at + 1, filled
            while place & bit:  # codes count up from their first bit, which is the lowest
                place, bit = place ^ bit, bit >> 1
            place |= bit
        filled *= 2


singles = compiled(_singles)


def _triples(table: Any, wide: Any) -> None:
    """Fill ``wide`` for the same bits: up to three bytes; from bit 24 on what they take, from 30 on how many they are."""
    for bits in range(1 << _WIDTH):
        taken: Any = 0
        found, text = 0, 0
        while found < 3:
            one: Any = np.int64(table[bits >> taken])
            if one == 0 or taken + (one & 15) > _WIDTH:
                break
            text |= one >> 4 << 8 * found
            taken, found = taken + (one & 15), found + 1
        wide[bits] = text | taken << 24 | found << 30


triples = compiled(_triples)


def _begin(buffer: Any, stop: Any, lane: Any, counts: Any, order: Any, wide: Any) -> bool:
    """Read the head of a block (RFC 1951, 3.2.7); False where it is another kind of block, or wrong."""
    bits, count, at = lane[_BITS], lane[_COUNT], lane[_FROM]
    bits, at, count = refill(buffer, bits, at, count)
    literals, distances = np.int64(bits >> _3 & _U(31)) + 257, np.int64(bits >> _U(8) & _U(31)) + 1
    kind, codes = bits >> _1 & _3, np.int64(bits >> _U(13) & _15) + 4
    lane[_LAST] = bits & _1
    if kind != 2 or literals > 286 or distances > 30:
        return False
    bits, count = bits >> _U(17), count - _U(17)
    lengths, table = np.zeros(320, np.uint8), np.empty(1 << _WIDTH, np.uint16)
    for i in range(codes):
        if count < _3:
            bits, at, count = refill(buffer, bits, at, count)
        lengths[_LENGTHS[i]] = bits & _U(7)
        bits, count = bits >> _3, count - _3
    if not sort(lengths[:19], counts, order):
        return False
    singles(counts, order, 7, table)
    done, total = 0, literals + distances
    while done < total:
        if at > stop + _U(7):
            return False
        bits, at, count = refill(buffer, bits, at, count)
        one = _U(table[bits & _U(127)])
        bits, count, symbol = bits >> (one & _15), count - (one & _15), one >> _U(4)
        again: Any = 1
        length = np.uint8(symbol)
        if symbol > _15:
            if symbol == 16 and done == 0:
                return False
            length = lengths[done - 1] if symbol == 16 else np.uint8(0)
            extra = _2 if symbol == 16 else _3 if symbol == 17 else _U(7)
            again = np.int64(bits & ((_1 << extra) - _1)) + (11 if symbol == 18 else 3)
            bits, count = bits >> extra, count - extra
        if done + again > total:
            return False
        lengths[done : done + again] = length
        done += again
    if not sort(lengths[literals:total], counts, order) or not sort(lengths[:literals], counts, order):
        return False
    singles(counts, order, _WIDTH, table)
    triples(table, wide)
    lane[_BITS], lane[_COUNT], lane[_FROM] = bits, count, at
    return True


begin = compiled(_begin)


def _unpack(buffer: Any, starts: Any, stops: Any, size: int, out: Any, whole: Any) -> None:
    """Unpack streams of ``size`` bytes each.

    Args:
        buffer: uint8; 64 bytes behind each stream lie in it as well.
        starts, stops: int64 (n,): where the streams begin and end, at most ``LANES``.
        out: uint8 (n, ``size + SLACK``), filled.
        whole: bool (n,), filled: whether it is a stream of bytes alone, and has just as many of them.
    """
    lanes = np.zeros((LANES, 5), np.uint64)
    counts, order = np.zeros((LANES, 16), np.uint64), np.zeros((LANES, 320), np.uint64)
    wide = np.zeros((LANES, 1 << _WIDTH), np.uint32)
    state, codes, symbols, looks, text = lanes.ravel(), counts.ravel(), order.ravel(), wide.ravel(), out.reshape(-1)
    live, left = np.zeros(LANES, np.bool_), 0
    for i in range(starts.size):
        lanes[i, _FROM], lanes[i, _TO], whole[i] = starts[i], i * out.shape[1], False
        live[i] = begin(buffer, _U(stops[i]), lanes[i], counts[i], order[i], wide[i])
        left += live[i]
    while left > 0:
        for i in range(starts.size):
            if not live[i]:
                continue
            lane, end, stop = _U(5) * _U(i), _U(i) * _U(out.shape[1]) + _U(size), _U(stops[i])
            bits, count, at, to = state[lane], state[lane + _1], state[lane + _2], state[lane + _3]
            if at > stop + _U(7) or to > end:
                live[i], left = False, left - 1
                continue
            bits, at, count = refill(buffer, bits, at, count)
            table, taken, look = _U(i) << _U(_WIDTH), _0, _0
            for _ in range(_LOOKS):
                look = _U(looks[table | bits & _U((1 << _WIDTH) - 1)])
                length = look >> _U(24)
                bits >>= length & _63  # what lies above is their number, which a shift does not see
                taken += length
                text[to], text[to + _1], text[to + _2] = look, look >> _U(8), look >> _U(16)
                to += look >> _U(30)
            count -= taken & _63
            if look == 0:  # another symbol, or a longer code: bit by bit
                bits, at, count = refill(buffer, bits, at, count)
                code, first, before, length, symbol = _0, _0, _0, _0, _U(_END + 1)
                while length < _15:
                    length += _1
                    code |= bits >> (length - _1) & _1
                    here = codes[_U(i) << _U(4) | length]
                    if code < first + here:
                        symbol = symbols[_U(i) * _U(320) + before + code - first]
                        break
                    before, first, code = before + here, (first + here) << _1, code << _1
                bits, count = bits >> length, count - length
                if symbol < _U(_END):
                    text[to] = symbol
                    to += _1
                else:
                    state[lane], state[lane + _1], state[lane + _2], state[lane + _3] = bits, count, at, to
                    if symbol == _U(_END) and state[lane + _U(_LAST)] == 0:
                        live[i] = begin(buffer, stop, lanes[i], counts[i], order[i], wide[i])
                        left -= not live[i]
                    else:
                        whole[i] = symbol == _U(_END) and to == end and at - (count >> _3) == stop
                        live[i], left = False, left - 1
                    continue
            state[lane], state[lane + _1], state[lane + _2], state[lane + _3] = bits, count, at, to


unpack = compiled(_unpack)
