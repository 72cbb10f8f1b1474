"""Resizes photographs as Pillow does, byte for byte, but computes only the pixels that a crop keeps.

Pillow's ``resize`` of 8-bit images (``src/libImaging/Resample.c``) makes two passes, one along rows and one along columns. A
pixel of a pass is a weighted sum of neighbours in whole numbers: the weights are multiples of 2^-22, and the sum is rounded
to 8 bits after each pass. So with Pillow's weights and its order of the passes, every sum has Pillow's bytes.

- The weights come from Pillow itself (``_read_weights``), because their last bit depends on how Pillow was compiled. They
  are compared with Pillow once for each pair of sizes, on random pixels.
- Pillow chooses the order of the passes by the sizes, and not in the same way in every version. The first photograph of each
  size is resized by Pillow, and in both orders here. The order whose bytes are Pillow's is used from then on.

Where no bytes are equal, Pillow resizes.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from PIL import Image

from pipeline.numerics.geometry import MAX_SIDE, Geometry
from pipeline.numerics.jit import compiled
from pipeline.numerics.kernels.lanes import I8, I32, I64, index, intrinsic, pointer

_BITS = 22  # of a weight's fraction (PRECISION_BITS)
_HALF = 1 << (_BITS - 1)
_PAIRS = 1024  # pairs of sizes whose weights are kept, about 8 KB each
_SIZES = 1 << 14  # sizes of photographs whose order of passes is kept
_ROWS = 8  # of random pixels, for the comparison with Pillow

# By (height, width, resized height, resized width): whether Pillow's first pass is along rows. None: neither order has its
# bytes.
_rows_first: dict[tuple[int, int, int, int], bool | None] = {}


class Weights(NamedTuple):
    """The weights of one pass with n results.

    Attributes:
        first: int64 (n,), the first source pixel of each result.
        weights: int32 (n, taps), in units of 2^-22.
    """

    first: np.ndarray
    weights: np.ndarray

    @property
    def taps(self) -> int:
        return int(self.weights.shape[1])

    @property
    def span(self) -> tuple[int, int]:
        """The first source pixel that is used, and the first after those that are used."""
        return int(self.first[0]), int(self.first[-1]) + self.taps

    def part(self, start: int, count: int) -> "Weights":
        return Weights(self.first[start : start + count], self.weights[start : start + count])


def apply(geometry: Geometry, pixels: np.ndarray) -> np.ndarray:
    """Returns ``geometry.apply(pixels)``: the same bytes and errors, in less time.

    Args:
        pixels: uint8 (3, h, w).
    """
    if geometry.resize is None:
        return pixels
    before = (pixels.shape[1], pixels.shape[2])
    resized = geometry.resized(*before)
    if before == resized or max(resized) > MAX_SIDE:
        return geometry.apply(pixels)
    down, across = weights(before[0], resized[0]), weights(before[1], resized[1])
    sizes = (*before, *resized)
    if down is None or across is None or _rows_first.get(sizes, True) is None:
        return geometry.apply(pixels)
    top, left, height, width = geometry.window(*resized)
    passes = (np.ascontiguousarray(pixels.transpose(1, 2, 0)), down.part(top, height), across.part(left, width))
    if sizes in _rows_first:
        return resize(*passes, bool(_rows_first[sizes])).transpose(2, 0, 1)
    expected = geometry.apply(pixels)
    equal = [np.array_equal(resize(*passes, order).transpose(2, 0, 1), expected) for order in (True, False)]
    if len(_rows_first) >= _SIZES:
        _rows_first.clear()
    if equal != [True, True]:  # of a flat photograph both are, and the next one decides
        _rows_first[sizes] = equal[0] if any(equal) else None
    return expected


def resize(image: np.ndarray, down: Weights, across: Weights, rows_first: bool) -> np.ndarray:
    """Returns uint8 (n, m, 3): an image, uint8 (h, w, 3), with n rows and m columns by their weights."""
    height, width = len(down.first), len(across.first)
    result = np.empty(height * width * 3 + 1, np.uint8)  # the last pixel is written as four bytes
    if rows_first:
        start, stop = down.span
        between = np.empty((stop - start) * width * 3 + 1, np.uint8)
        spare = stop == len(image)  # the last pixel is read as four bytes, and there is none after the image
        _across(image.reshape(-1), image.shape[1], start, stop - spare, across.first, across.weights, between)
        if spare:
            last = np.append(image[-1].reshape(-1), np.uint8(0))
            _across(last, image.shape[1], 0, 1, across.first, across.weights, between[-3 * width - 1 :])
        _down(between, 3 * width, 0, 3 * width, down.first - start, down.weights, result)
    else:
        start, stop = across.span
        between = np.empty(height * (stop - start) * 3 + 1, np.uint8)
        line = 3 * (stop - start)
        _down(image.reshape(-1), 3 * image.shape[1], 3 * start, line, down.first, down.weights, between)
        _across(between, stop - start, 0, height, across.first - start, across.weights, result)
    return result[:-1].reshape(height, width, 3)


@functools.lru_cache(_PAIRS)
def weights(size: int, result: int) -> Weights | None:
    """Returns the weights of a pass from ``size`` pixels to ``result``. None if they do not give Pillow's bytes."""
    read = _read_weights(size, result)
    pixels = np.random.default_rng(0).integers(0, 256, (_ROWS, size, 3), np.uint8)
    unchanged = Weights(np.arange(_ROWS), np.full((_ROWS, 1), 1 << _BITS, np.int32))
    expected = np.asarray(Image.fromarray(pixels).resize((result, _ROWS), Image.Resampling.BILINEAR))
    return read if np.array_equal(resize(pixels, unchanged, read, True), expected) else None


def _read_weights(size: int, result: int) -> Weights:
    """Reads Pillow's weights from a resized probe.

    The probe is an image of 32-bit integers. Pillow resizes them with the same real weights w, and rounds once: a pixel of
    2^22 among zeros becomes floor(2^22 w + 1/2), which is the whole weight that 8-bit images get. The pixels of 2^22 are
    so far apart that no result depends on two of them.
    """
    scale = size / result
    support = max(scale, 1.0)
    period = min(2 * math.ceil(support) + 3, size)  # more than the pixels that a result depends on
    probe = np.zeros((period, size), np.int32)
    places = np.arange(size)
    probe[places % period, places] = 1 << _BITS
    read = np.asarray(Image.fromarray(probe).resize((result, period), Image.Resampling.BILINEAR))
    first = ((np.arange(result) + 0.5) * scale - support + 0.5).astype(np.int64) - 1
    first = np.clip(first, 0, size - period)
    each = np.arange(result)[:, None]
    used = read[(first[:, None] + np.arange(period)) % period, each] != 0
    leading = used.argmax(axis=1)
    taps = int((period - used[:, ::-1].argmax(axis=1) - leading).max())
    first = np.minimum(first + leading, size - taps)
    return Weights(first, np.ascontiguousarray(read[(first[:, None] + np.arange(taps)) % period, each]))


_VECTOR, _BYTES = ir.VectorType(I32, 4), ir.VectorType(I8, 4)


@intrinsic
def _write_pixel(
    typing_context: Any, source: Any, start: Any, weights_: Any, row: Any, taps: Any, result: Any, to: Any
) -> Any:
    """Writes the weighted sum of pixels at ``to`` of ``result``: its three colours, and a fourth byte without meaning.

    LLVM would not vectorise a loop over three colours. So they are computed in the lanes of a vector of four.

    Args:
        source: uint8, flat; the pixels begin at ``start``, and four bytes are read of each.
        weights_: int32 (n, taps); the weights are in row ``row``.
        result: uint8, flat.
    """

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at, line, count, place = (index(context, builder, sig, arguments, i) for i in (1, 3, 4, 6))
        total = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [_HALF] * 4))
        with cgutils.for_range(builder, count) as loop:
            address = builder.add(at, builder.mul(loop.index, I64(3)))
            pixel = builder.load(pointer(context, builder, sig.args[0], arguments[0], address, _BYTES))
            pixel.align = 1
            address = builder.add(builder.mul(line, count), loop.index)
            weight = builder.load(pointer(context, builder, sig.args[2], arguments[2], address, I32))
            first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), weight, I32(0))
            everywhere = builder.shuffle_vector(first, first, ir.Constant(_VECTOR, [0] * 4))
            product = builder.mul(builder.zext(pixel, _VECTOR), everywhere)
            builder.store(builder.add(builder.load(total), product), total)
        rounded = builder.lshr(builder.load(total), ir.Constant(_VECTOR, [_BITS] * 4))
        address = pointer(context, builder, sig.args[5], arguments[5], place, _BYTES)
        builder.store(builder.trunc(rounded, _BYTES), address, align=1)
        return context.get_dummy_value()

    return types.void(source, start, weights_, row, taps, result, to), lower


@compiled
def _across(
    image: np.ndarray, width: int, start: int, stop: int, first: np.ndarray, factors: np.ndarray, result: np.ndarray
) -> None:
    """Makes the pass along rows ``start`` to ``stop`` of a flat image with ``width`` pixels a row.

    It reads and writes one byte beyond the last pixel.
    """
    for row in range(start, stop):
        for x in range(first.size):
            at = 3 * (row * width + first[x])
            _write_pixel(image, at, factors, x, factors.shape[1], result, 3 * ((row - start) * first.size + x))


@compiled
def _down(
    image: np.ndarray, stride: int, start: int, line: int, first: np.ndarray, factors: np.ndarray, result: np.ndarray
) -> None:
    """Makes the pass along columns of a flat image with ``stride`` bytes a row, for bytes ``start`` to ``start + line``."""
    totals = np.empty(line, np.int32)
    for y in range(first.size):
        totals[:] = _HALF
        for tap in range(factors.shape[1]):
            factor, at = factors[y, tap], (first[y] + tap) * stride + start
            row = image[at : at + line]
            for i in range(line):
                totals[i] += factor * np.int32(row[i])
        out = result[y * line : (y + 1) * line]
        for i in range(line):
            out[i] = totals[i] >> _BITS
