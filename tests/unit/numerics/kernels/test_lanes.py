"""Each operation on eight lanes equals NumPy's on the same numbers, bit for bit."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pipeline.numerics.jit import compiled
from pipeline.numerics.kernels import lanes
from pipeline.numerics.kernels.lane_transfer import gather_int16, spread_bytes, transpose_block
from pipeline.numerics.kernels.lanes import load, select, store, store_int16

SPECIAL = np.array([0.0, -0.0, 1.5, -2.5, 1e300, np.inf, np.nan, 5e-324])
PAIRS = [
    tuple(np.random.default_rng(1).normal(size=(2, 8)) * [1, 10, 100, 1e5, 1e-5, 3, 1e200, 7]),
    (SPECIAL, np.roll(SPECIAL, 3)),
    (SPECIAL, SPECIAL),
]


@compiled
def arithmetic(a: Any, b: Any, out: Any) -> None:
    x, y = load(a, 0), load(b, 0)
    store(out, 0, x + y)
    store(out, 8, x - y)
    store(out, 16, x * y)
    store(out, 24, x / y)
    store(out, 32, -x)
    store(out, 40, lanes.absolute(x))
    store(out, 48, lanes.nearest(x))
    store(out, 56, lanes.square_root(lanes.absolute(x)))
    store(out, 64, lanes.copy_sign(x, y))
    store(out, 72, lanes.larger(x, y))


@pytest.mark.parametrize("pair", PAIRS, ids=["normal", "special", "equal"])
@np.errstate(all="ignore")
def test_arithmetic(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (np.ascontiguousarray(x) for x in pair)
    out = np.zeros((10, 8))
    arithmetic(a, b, out.reshape(-1))
    larger = np.where(a > b, a, b)
    expected = [a + b, a - b, a * b, a / b, -a, abs(a), np.rint(a), np.sqrt(abs(a)), np.copysign(a, b), larger]
    np.testing.assert_array_equal(out, expected)
    signs = np.signbit(out[[4, 8]]) == np.signbit(np.array(expected)[[4, 8]])
    assert signs[:, ~np.isnan(a)].all()  # of zeros too


@compiled
def comparisons(a: Any, b: Any, out: Any, anywhere: Any) -> None:
    x, y, yes, no = load(a, 0), load(b, 0), lanes.splat(1.0), lanes.splat(0.0)
    store(out, 0, select(x < y, yes, no))
    store(out, 8, select(x <= y, yes, no))
    store(out, 16, select(x > y, yes, no))
    store(out, 24, select(x >= y, yes, no))
    store(out, 32, select(x == y, yes, no))
    store(out, 40, select((x < y) | (x == y), yes, no))
    store(out, 48, select((x <= y) & (x >= y), yes, no))
    store(out, 56, select(~(x < y), yes, no))
    anywhere[0], anywhere[1] = lanes.any_lane(x < y), lanes.any_lane(x == y)


@pytest.mark.parametrize("pair", [*PAIRS, (np.arange(8.0), np.arange(8.0) - np.eye(8)[7])], ids=str)
@np.errstate(all="ignore")
def test_comparisons_and_masks(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (np.ascontiguousarray(x) for x in pair)
    out, anywhere = np.zeros((8, 8)), np.zeros(2, bool)
    comparisons(a, b, out.reshape(-1), anywhere)
    less, equal = a < b, a == b
    np.testing.assert_array_equal(out, [less, a <= b, a > b, a >= b, equal, less | equal, equal, ~less])
    assert list(anywhere) == [less.any(), equal.any()]


@compiled
def fused(a: Any, b: Any, c: Any, out: Any) -> None:
    store(out, 0, lanes.fma(load(a, 0), load(b, 0), load(c, 0)))
    store(out, 8, load(a, 0) * load(b, 0) + load(c, 0))


def test_a_fused_product_is_rounded_once_and_others_twice() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 8))
    c = -a * b  # what is left of the sum is the product's rounding error
    out = np.zeros((2, 8))
    fused(a, b, c, out.reshape(-1))
    exact = [float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a, b, c, strict=True)]
    np.testing.assert_array_equal(out, [exact, np.zeros(8)])
    assert np.count_nonzero(exact) > 4


@compiled
def sums(a: Any, out: Any, single: Any) -> None:
    v = lanes.totals(
        load(a, 0), load(a, 8), load(a, 16), load(a, 24), load(a, 32), load(a, 40), load(a, 48), load(a, 56)
    )
    store(out, 0, v)
    for i in range(8):
        single[i] = lanes.total(load(a, 8 * i))
        out[8 + i] = lanes.lane(v, 7 - i)


def test_sums_have_a_fixed_order() -> None:
    a = np.random.default_rng(3).normal(size=(8, 8)) * 10.0 ** np.arange(8)
    out, single = np.zeros(16), np.zeros(8)
    sums(a.reshape(-1), out, single)
    b = a[:, :4] + a[:, 4:]
    expected = (b[:, 0] + b[:, 2]) + (b[:, 1] + b[:, 3])
    assert (expected != [math.fsum(row) for row in a]).any()  # so that another order would show
    np.testing.assert_array_equal(out[:8], expected)
    np.testing.assert_array_equal(single, expected)
    np.testing.assert_array_equal(out[8:], expected[::-1])


@compiled
def integers(a: Any, out: Any) -> None:
    store_int16(out, 3, load(a, 1))


def test_whole_numbers_are_stored_as_int16_from_any_element_on() -> None:
    levels = np.array([7, -32768, 32767, 0, -1, 255, -255, 1000, 128], float)
    out = np.zeros(12, np.int16)
    integers(levels, out)
    np.testing.assert_array_equal(out, [0, 0, 0, *levels[1:].astype(int), 0])


@compiled
def spread(source: Any, starts: Any, target: Any) -> None:
    spread_bytes(source, starts, 2, target, 8, 16)


def test_bytes_of_eight_planes_become_lanes() -> None:
    source = np.random.default_rng(4).integers(0, 256, (9, 11), dtype=np.uint8)
    order = np.array([8, 0, 3, 3, 1, 7, 2, 5])
    target = np.full((17, 8), -1.0)
    spread(source.reshape(-1), order * 11, target.reshape(-1))
    np.testing.assert_array_equal(target[1::2], source[order, 2:10].T)
    np.testing.assert_array_equal(target[::2], -1.0)


@compiled
def gather(source: Any, target: Any) -> None:
    gather_int16(source, 8, 16, target, 1, 10)


def test_lanes_of_int16_become_eight_planes() -> None:
    source = np.random.default_rng(5).integers(-32768, 32768, (17, 8)).astype(np.int16)
    target = np.zeros((8, 10), np.int16)
    gather(source.reshape(-1), target.reshape(-1))
    np.testing.assert_array_equal(target[:, 1:9], source[1::2].T)
    np.testing.assert_array_equal(target[:, [0, 9]], 0)


@compiled
def spread_and_transpose(a: Any, spread: Any, transposed: Any) -> None:
    for i in range(8):
        store(spread, 8 * i, lanes.spread(a, 3 + i))
    transpose_block(a, 5, transposed, 2)


def test_one_element_in_every_lane_and_a_transposed_block() -> None:
    a = np.random.default_rng(3).normal(size=72)
    spread, transposed = np.zeros((8, 8)), np.zeros(68)
    spread_and_transpose(a, spread.reshape(-1), transposed)
    np.testing.assert_array_equal(spread, np.repeat(a[3:11, None], 8, axis=1))
    np.testing.assert_array_equal(transposed[2:66].reshape(8, 8), a[5:69].reshape(8, 8).T)
    assert not transposed[[0, 1, 66, 67]].any()
