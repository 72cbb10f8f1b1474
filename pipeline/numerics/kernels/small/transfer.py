"""Moves planes into lanes, and results back to planes.

A strip is a range of rows of A (columns of a wide plane): at most ``STRIP`` of them, so that the arrays of long
planes stay small too.
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lane_transfer import gather_int16, spread_bytes
from pipeline.numerics.kernels.lanes import LANES

STRIP = 32


@step
def read_strip(pixels: Any, starts: Any, shape: Any, first: int, rows: int, strip: Any) -> None:
    """Converts a strip of eight planes to float64 lanes.

    Args:
        pixels: uint8, flat planes.
        starts: int64 (8,), where each plane begins.
        shape: (l, n, wide): sides of A, and whether a plane is stored as A^T.
        first: first row of the strip in A.
        rows: number of rows.
        strip: float64, receives (rows, n) vectors.
    """
    length, n, wide = shape
    lines, size = (n, rows) if wide else (rows, n)  # contiguous runs of bytes in a plane
    between, step = (LANES, n * LANES) if wide else (n * LANES, LANES)
    for line in range(lines):
        offset = line * length + first if wide else (first + line) * n
        to = line * between
        if size < LANES:
            for i in range(size):
                for k in range(LANES):
                    strip[to + i * step + k] = pixels[starts[k] + offset + i]
        else:
            for i in range(0, size - LANES, LANES):
                spread_bytes(pixels, starts, offset + i, strip, to + i * step, step)
            last = size - LANES  # may overlap the bytes before
            spread_bytes(pixels, starts, offset + last, strip, to + last * step, step)


@step
def write_strip(strip: Any, shape: Any, first: int, rows: int, lanes: int, rounded: Any, start: int) -> None:
    """Copies a strip of rounded cuts from lanes to planes.

    Args:
        strip: int16, (rows, n) vectors.
        shape, first, rows: as in ``read_strip``.
        lanes: number of lanes that hold a plane; ``rounded`` has room for eight.
        rounded: int16, flat planes.
        start: index in ``rounded`` where the first plane begins.
    """
    length, n, wide = shape
    lines, size = (n, rows) if wide else (rows, n)
    between, step = (LANES, n * LANES) if wide else (n * LANES, LANES)
    for line in range(lines):
        to = start + (line * length + first if wide else (first + line) * n)
        at = line * between
        if size < LANES:
            for i in range(size):
                for k in range(lanes):
                    rounded[to + k * length * n + i] = strip[at + i * step + k]
        else:
            for i in range(0, size - LANES, LANES):
                gather_int16(strip, at + i * step, step, rounded, to + i, length * n)
            last = size - LANES
            gather_int16(strip, at + last * step, step, rounded, to + last, length * n)


@step
def write_exact_strip(strip: Any, shape: Any, first: int, rows: int, lanes: int, planes: Any, start: int) -> None:
    """Does the same as ``write_strip`` for float64 cuts before rounding."""
    length, n, wide = shape
    for row in range(rows):
        for column in range(n):
            to = start + (column * length + first + row if wide else (first + row) * n + column)
            for k in range(lanes):
                planes[to + k * length * n] = strip[(row * n + column) * LANES + k]
