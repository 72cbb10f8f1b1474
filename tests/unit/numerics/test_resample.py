"""Images are resized to Pillow's bytes, and Pillow resizes where that is not certain."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import Undecodable
from pipeline.numerics import resample
from pipeline.numerics.geometry import Geometry
from tests.conftest import examples


@pytest.fixture(autouse=True)
def unknown() -> Iterator[None]:
    """Every test begins without known sizes."""
    resample._rows_first.clear()
    resample.weights.cache_clear()
    yield
    resample._rows_first.clear()
    resample.weights.cache_clear()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns random pixels as a decoder returns them: uint8 (3, h, w), a view of interleaved colours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8).transpose(2, 0, 1)


def by_pillow(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def check(geometry: Geometry, pixels: np.ndarray) -> None:
    """Compares with Pillow: the first time, when the size becomes known, and the second time, by the weights alone."""
    expected = geometry.apply(pixels)
    for _ in range(2):
        actual = resample.apply(geometry, pixels)
        assert actual.shape == expected.shape and (actual == expected).all()


def test_photographs_have_pillows_bytes(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry, by_weights = Geometry(256, 224), 0
    real = resample.resize
    for path in sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:500]:
        pixels = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        expected = geometry.apply(pixels)
        resample.apply(geometry, pixels)
        calls: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(resample, "resize", lambda *a, calls=calls: calls.append(a) or real(*a))
            assert (resample.apply(geometry, pixels) == expected).all(), path
        by_weights += len(calls)
    assert by_weights > 400  # not Pillow against itself


@examples(300)
@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(1, 300), st.booleans(), st.integers(0, 2**32 - 1), st.booleans()
)  # fmt: skip
def test_every_size_has_pillows_bytes(height: int, width: int, side: int, whole: bool, seed: int, planar: bool) -> None:
    if max(height, width) > 20 * min(height, width):
        width = height
    geometry = Geometry(side, None if whole else max(1, side - seed % 40))
    pixels = noise(height, width, seed)
    check(geometry, np.ascontiguousarray(pixels) if planar else pixels)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (2, 3), (256, 500), (500, 256), (685, 320), (320, 685), (3000, 40)]
)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (256, None), (1, 1), (40, 33), (7, None)])
def test_special_sizes_have_pillows_bytes(shape: tuple[int, int], resize: int, crop: int | None) -> None:
    if resize * max(shape) // min(shape) > 4000:
        pytest.skip("a thin image would become very large")
    check(Geometry(resize, crop), noise(*shape))


@pytest.mark.parametrize("level", [0, 1, 127, 128, 254, 255])
def test_flat_and_two_valued_images_have_pillows_bytes(level: int) -> None:
    flat = np.full((3, 300, 500), level, np.uint8)
    check(Geometry(256, 224), flat)
    check(Geometry(256, 224), np.where(noise(300, 500) < 128, 0, 255).astype(np.uint8))


def test_a_flat_image_does_not_decide_the_order_of_the_passes() -> None:
    geometry = Geometry(256, 224)
    resample.apply(geometry, np.full((3, 300, 500), 9, np.uint8))
    assert resample._rows_first == {}
    resample.apply(geometry, noise(300, 500))
    assert list(resample._rows_first) == [(300, 500, 256, 426)]


@pytest.mark.parametrize("rows_first", [True, False])
def test_both_orders_are_two_passes_of_pillow(rows_first: bool) -> None:
    pixels = noise(211, 317)
    down, across = resample.weights(211, 100), resample.weights(317, 90)
    assert down and across
    actual = resample.resize(np.ascontiguousarray(pixels.transpose(1, 2, 0)), down, across, rows_first)
    between = by_pillow(pixels, 211, 90) if rows_first else by_pillow(pixels, 100, 317)
    assert (actual.transpose(2, 0, 1) == by_pillow(between, 100, 90)).all()


def test_weights_are_those_of_the_triangle_in_whole_numbers() -> None:
    """Pillow's weight is w / sum w for w = 1 - |distance| / scale, in units of 2^-22."""
    for size, result in [(500, 341), (375, 256), (30, 100), (997, 13)]:
        found = resample.weights(size, result)
        assert found is not None
        scale = size / result
        places = np.arange(size) + 0.5
        exact = np.maximum(0, 1 - np.abs(places - (np.arange(result)[:, None] + 0.5) * scale) / max(scale, 1))
        exact = exact / exact.sum(axis=1, keepdims=True) * 2**22
        whole = np.zeros((result, size))
        np.put_along_axis(whole, found.first[:, None] + np.arange(found.taps), found.weights, axis=1)
        assert np.abs(whole - exact).max() < 0.51


def test_pillow_resizes_where_the_weights_do_not_give_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = resample._read_weights

    def wrong(size: int, result: int) -> resample.Weights:
        first, weights = real(size, result)
        return resample.Weights(first, weights + (1 << 14))

    monkeypatch.setattr(resample, "_read_weights", wrong)
    check(Geometry(256, 224), noise(300, 500))
    assert resample.weights(300, 256) is None and resample._rows_first == {}


def test_pillow_resizes_where_neither_order_has_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "resize", lambda *_: np.zeros((224, 224, 3), np.uint8))
    monkeypatch.setattr(resample, "weights", lambda size, result: real(result))

    def real(result: int) -> resample.Weights:
        return resample.Weights(np.zeros(result, np.int64), np.zeros((result, 1), np.int32))

    check(Geometry(256, 224), noise(300, 500))
    assert resample._rows_first == {(300, 500, 256, 426): None}


def test_an_image_that_becomes_too_large_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="too large"):
        resample.apply(Geometry(256, 224), noise(2, 400))


def test_an_image_that_keeps_its_size_is_not_changed() -> None:
    pixels = noise(30, 40)
    assert resample.apply(Geometry(None, None), pixels) is pixels
    check(Geometry(30, 20), pixels)
