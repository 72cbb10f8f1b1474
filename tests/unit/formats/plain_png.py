"""A PNG encoder written from docs/format.md alone: plain Python, without the project's code, slow."""

import heapq
import struct
import zlib
from collections import Counter
from collections.abc import Iterable


def encode(rows: list[list[tuple[int, int, int]]], filter_type: int) -> bytes:
    """Returns the PNG file of an image.

    Args:
        rows: of each row, the (red, green, blue) of each pixel.
        filter_type: 0 or 3.
    """
    lines = b"".join(_filtered(rows, filter_type))
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    data = b"\x78\x01" + _deflated(lines) + struct.pack(">I", zlib.adler32(lines))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(rows: list[list[tuple[int, int, int]]], filter_type: int) -> Iterable[bytes]:
    above = [(0, 0, 0)] * len(rows[0])
    for row in rows:
        line, left = [filter_type], (0, 0, 0)
        for pixel, over in zip(row, above, strict=True):
            for channel in range(3):
                predicted = (left[channel] + over[channel]) // 2 if filter_type == 3 else 0
                line.append((pixel[channel] - predicted) % 256)
            left = pixel
        yield bytes(line)
        above = row


def _deflated(data: bytes) -> bytes:
    bits = ""
    start = 0
    while start < len(data):
        stop = start + 32768
        if len(data) - stop < 16384:
            stop = len(data)
        bits += _block(data[start:stop], stop >= len(data))
        start = stop
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def _block(data: bytes, last: bool) -> str:
    """Returns the bits of a block in the order of the stream."""
    lengths = code(Counter(data) | Counter({256: 1}), 14)
    codes = _codes(lengths)
    bits = "1" if last else "0"
    bits += _number(2, 2) + _number(0, 5) + _number(1, 5)
    bits += _description([lengths.get(symbol, 0) for symbol in range(257)] + [1, 1])
    return bits + "".join(codes[value] for value in data) + codes[256]


def _description(lengths: list[int]) -> str:
    symbols: list[tuple[int, str]] = []  # each with its extra bits
    while lengths:
        value, run = lengths[0], 1
        while run < len(lengths) and lengths[run] == value:
            run += 1
        lengths = lengths[run:]
        if value:
            symbols.append((value, ""))
            run -= 1
            while run >= 3:
                symbols.append((16, _number(min(6, run) - 3, 2)))
                run -= min(6, run)
        else:
            while run >= 11:
                symbols.append((18, _number(min(138, run) - 11, 7)))
                run -= min(138, run)
            if run >= 3:
                symbols.append((17, _number(run - 3, 3)))
                run = 0
        symbols += [(value, "")] * run
    code_lengths = code(Counter(symbol for symbol, _ in symbols), 7)
    codes = _codes(code_lengths)
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    stored = [code_lengths.get(symbol, 0) for symbol in order]
    while len(stored) > 4 and stored[-1] == 0:
        stored.pop()
    bits = _number(len(stored) - 4, 4) + "".join(_number(length, 3) for length in stored)
    return bits + "".join(codes[symbol] + extra for symbol, extra in symbols)


def code(counts: Counter[int], limit: int) -> dict[int, int]:
    """Returns the length of each symbol's code: steps 1 to 4 of docs/format.md."""
    ordered = sorted((symbol for symbol in counts if counts[symbol]), key=lambda symbol: (counts[symbol], symbol))
    # Nodes in a heap: weight, leaf (0) or parent (1), order; then the leaves below.
    heap = [(counts[symbol], 0, place, [place]) for place, symbol in enumerate(ordered)]
    heapq.heapify(heap)
    depths, made = [0] * len(ordered), 0
    while len(heap) > 1:
        (first, _, _, left), (second, _, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for place in left + right:
            depths[place] += 1
        heapq.heappush(heap, (first + second, 1, made, left + right))
        made += 1
    numbers = Counter(min(depth, limit) for depth in depths)
    while sum(number * 2 ** (limit - bits) for bits, number in numbers.items()) > 2**limit:
        bits = max(bits for bits in numbers if bits < limit and numbers[bits])
        numbers[bits] -= 1
        numbers[bits + 1] += 2
        numbers[limit] -= 1
    lengths = sorted(numbers.elements(), reverse=True)
    return dict(zip(ordered, lengths, strict=True))


def _codes(lengths: dict[int, int]) -> dict[int, str]:
    """Returns canonical codes (RFC 1951, section 3.2.2), the first bit first."""
    codes, value, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        value <<= length - before
        codes[symbol] = f"{value:0{length}b}"
        value, before = value + 1, length
    return codes


def _number(value: int, width: int) -> str:
    """Returns a number of ``width`` bits, the lowest bit first."""
    return f"{value:0{width}b}"[::-1] if width else ""
