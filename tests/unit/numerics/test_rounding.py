"""Rounding, clipping and sums: the compiled loops and the array operations agree, and both agree with plain Python."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.numerics import rounding

# NumPy under another identity, so that it uses the array operations.
GENERIC: Any = SimpleNamespace(**{name: getattr(np, name) for name in dir(np) if not name.startswith("_")})
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))


def assert_same(first: Any, second: Any) -> None:
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)
        assert np.asarray(left).dtype == np.asarray(right).dtype


@settings(deadline=None)
@given(st.data())
def test_rounding(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    levels = data.draw(arrays.arrays(np.float64, shape, elements=st.floats(-31000, 31000)))
    halves = np.floor(levels) + 0.5  # ties, which are rounded to the even number
    # One step of float64 on both sides of the band around a tie, where the rounded 0.5 - band decides.
    edges = np.round(levels) + 0.5 - np.array([1e-5, 1e-5 + 2**-54, 1e-5 - 2**-54])[levels.astype(int) % 3]
    for planes in (levels, halves, edges):
        for band in (1e-9, 1e-5, 0.1):
            rounded, margins, near = rounding.round_planes(planes, band)
            assert_same((rounded, margins, near), rounding.round_planes(planes, band, GENERIC))
            np.testing.assert_array_equal(rounded, np.rint(planes))
            assert rounded.dtype == np.int16
            distances = [[0.5 - abs(value - round(value)) for value in plane.flat] for plane in planes]
            assert margins.tolist() == list(map(min, distances))
            assert near.tolist() == [sum(distance < band for distance in plane) for plane in distances]


@settings(deadline=None)
@given(st.data())
def test_clipping(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    rounded = data.draw(arrays.arrays(np.int16, shape, elements=st.integers(-32000, 32000)))
    pixels = data.draw(arrays.arrays(np.uint8, shape))
    low = rounding.clip(rounded)
    assert_same(low, rounding.clip(rounded, GENERIC))
    np.testing.assert_array_equal(low[0], rounded.clip(0, 255))
    assert low[1] == ((rounded < 0) | (rounded > 255)).sum()
    # the difference fits int16, because a cut is close to its image
    near = (pixels.astype(np.int16) + rounded % 600 - 300).astype(np.int16)
    for layout in (pixels, np.asfortranarray(pixels)):
        high = rounding.difference(layout, near, 128)
        assert_same(high, rounding.difference(layout, near, 128, GENERIC))
        unclipped = pixels.astype(int) - near + 128
        np.testing.assert_array_equal(high[0], unclipped.clip(0, 255))
        assert high[1] == ((unclipped < 0) | (unclipped > 255)).sum()
        assert_same(high[2:], rounding.moments(high[0]))
    assert_same(low[2:], rounding.moments(low[0]))


def test_moments_of_large_planes_do_not_overflow() -> None:
    for shape in ((2, 300, 401), (1, 1, 1), (3, 128, 256), (2, 1, 1 << 16)):
        for stored in (np.full(shape, 255, np.uint8), np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)):
            sums, squares = rounding.moments(stored)
            assert_same((sums, squares), rounding.moments(stored, GENERIC))
            assert sums.tolist() == [sum(plane.tolist()) for plane in stored.reshape(shape[0], -1)]
            assert squares.tolist() == [sum(v * v for v in plane.tolist()) for plane in stored.reshape(shape[0], -1)]
