"""Variants and their cuts: names, bytes and statistics."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numerics.batch import compute
from pipeline.numerics.cut import Cut
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant, canonical, variants


def photo(seed: int = 0, count: int = 5) -> np.ndarray:
    """Returns uint8 (n, 3, 16, 20) with strong edges and noise, so that low-rank pixels leave 0..255."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 2, (count, 3, 16, 20)) * 230 + rng.integers(0, 26, (count, 3, 16, 20))
    return pixels.astype(np.uint8)


def cuts_of(pixels: np.ndarray, requested: tuple[Variant, ...]) -> dict[Variant, Cut]:
    return compute(pixels, Recipe(requested, min(pixels.shape[2:]))).cuts


def unclipped(pixels: np.ndarray, rank: int) -> np.ndarray:
    """R = rint(255 A_k) by ``numpy.linalg.svd``: float64 (n, 3, h, w)."""
    left, sigma, right = np.linalg.svd(pixels / 255, full_matrices=False)
    rounded: np.ndarray = np.rint(255 * ((left[..., :rank] * sigma[..., None, :rank]) @ right[..., :rank, :]))
    return rounded


@pytest.mark.parametrize(
    ("variant", "name"),
    [(Variant("low", 5), "rank5"), (Variant("high", 50), "highrank50"), (Variant("full"), "full")],
)
def test_a_variant_is_named_by_its_component_and_rank(variant: Variant, name: str) -> None:
    assert variant.name == name
    assert Variant.parse(name) == variant


@pytest.mark.parametrize(
    "name", ["", "rank", "rank0", "rank05", "rank-1", "highrank", "full3", "Rank5", "rank5 ", "x-rank5"]
)
def test_no_other_name_is_a_variant(name: str) -> None:
    with pytest.raises(ValueError, match="is not a variant"):
        Variant.parse(name)


def test_every_component_has_every_rank_and_full_exists_once() -> None:
    names = [variant.name for variant in variants((10, 3), ("full", "high", "low"))]
    assert names == ["rank3", "rank10", "highrank3", "highrank10", "full"]


def test_the_order_of_variants_does_not_depend_on_the_order_of_the_request() -> None:
    expected = list(variants((3, 10, 20), ("low", "high", "full")))
    assert canonical(expected[::-1] + expected) == tuple(expected)


def test_cuts_have_the_order_of_the_request() -> None:
    requested = (Variant("high", 3), Variant("full"), Variant("low", 9), Variant("low", 3))
    pixels = photo()
    assert tuple(cuts_of(pixels, requested)) == requested


@pytest.mark.parametrize("rank", [1, 4, 15])
def test_low_is_clipped_rounded_a_k_and_high_the_rest_around_128(rank: int) -> None:
    pixels = photo()
    cuts = cuts_of(pixels, variants((rank,), ("low", "high")))
    rounded = unclipped(pixels, rank)
    low, high = cuts[Variant("low", rank)], cuts[Variant("high", rank)]
    assert low.pixels.dtype == high.pixels.dtype == np.uint8
    np.testing.assert_array_equal(low.pixels, np.clip(rounded, 0, 255))
    np.testing.assert_array_equal(high.pixels, np.clip(pixels - rounded + 128, 0, 255))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 15))
def test_low_plus_high_minus_128_is_the_image_wherever_neither_clips(seed: int, rank: int) -> None:
    pixels = photo(seed, 1)
    cuts = cuts_of(pixels, variants((rank,), ("low", "high")))
    low, high = (cuts[Variant(component, rank)].pixels.astype(int) for component in ("low", "high"))
    inside = (low > 0) & (low < 255) & (high > 0) & (high < 255)
    assert inside.any()
    np.testing.assert_array_equal((low + high - 128)[inside], pixels[inside])


def test_full_is_the_untouched_image() -> None:
    pixels = photo()
    only = cuts_of(pixels, (Variant("full"),))
    np.testing.assert_array_equal(only[Variant("full")].pixels, pixels)
    assert only[Variant("full")].statistics.clipped == 0


def test_clipped_subpixels_are_counted() -> None:
    pixels = photo()
    cuts = cuts_of(pixels, variants((2,), ("low", "high")))
    low, high = unclipped(pixels, 2), pixels - unclipped(pixels, 2) + 128
    for component, exact in {"low": low, "high": high}.items():
        outside = int(((exact < 0) | (exact > 255)).sum())
        assert outside > 0
        assert cuts[Variant(component, 2)].statistics.clipped == outside


def test_moments_are_those_of_the_stored_pixels() -> None:
    pixels = np.full((300, 3, 16, 20), 255, np.uint8)  # sums beyond 32 bits
    pixels[:, 1] = np.random.default_rng(1).integers(0, 256, pixels[:, 1].shape)
    cuts = cuts_of(pixels, variants((3,), ("low", "high", "full")))
    for variant_cut in cuts.values():
        stored = variant_cut.pixels.astype(object)
        assert variant_cut.statistics.sums == tuple(int(stored[:, channel].sum()) for channel in range(3))
        assert variant_cut.statistics.squares == tuple(int((stored[:, channel] ** 2).sum()) for channel in range(3))


def test_statistics_add_up_over_batches() -> None:
    pixels = photo(count=9)
    requested = variants((3,), ("low", "high", "full"))

    def count(part: np.ndarray) -> dict[Variant, Statistics]:
        cuts = cuts_of(part, requested)
        return {variant: cuts[variant].statistics for variant in requested}

    whole, first, second = count(pixels), count(pixels[:4]), count(pixels[4:])
    for variant in requested:
        assert first[variant] + second[variant] == whole[variant]
        assert whole[variant] + Statistics() == whole[variant]


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (Variant("band", 100, above=50), "band50-100"),
        (Variant("band", 100, True, 50), "band50-100-exact"),
        (Variant("lowpass", radius=8), "lowpass8"),
        (Variant("highpass", exact=True, radius=12), "highpass12-exact"),
    ],
)
def test_bands_and_frequencies_have_names_of_their_own(variant: Variant, name: str) -> None:
    assert variant.name == name
    assert Variant.parse(name) == variant


@pytest.mark.parametrize(
    "name", ["band5", "band5-5", "band9-3", "band0-3", "band3-04", "lowpass", "lowpass0", "highpass3-5"]
)
def test_a_band_is_not_empty_and_a_radius_is_not_zero(name: str) -> None:
    with pytest.raises(ValueError, match="is not a variant"):
        Variant.parse(name)


def test_components_choose_the_passes_but_not_the_bands() -> None:
    names = [v.name for v in variants((3,), ("low", "full"), bands=((3, 9), (1, 4)), radii=(4, 2))]
    assert names == ["rank3", "band1-4", "band3-9", "lowpass2", "lowpass4", "full"]


@pytest.mark.parametrize(("lower", "upper"), [(1, 4), (4, 15), (2, 16), (16, 20)])
def test_a_band_is_the_difference_of_its_ends(lower: int, upper: int) -> None:
    """Also beyond the image's 16 singular values, which happens where images have different sizes."""
    pixels = photo()
    band = Variant("band", upper, above=lower)
    cuts = cuts_of(pixels, (band, replace(band, exact=True)))
    ends = [unclipped(pixels, min(rank, 16)) for rank in (upper, lower)]
    unbounded = ends[0] - ends[1] + 128
    np.testing.assert_array_equal(cuts[band].pixels, np.clip(unbounded, 0, 255))
    assert cuts[band].statistics.clipped == np.count_nonzero((unbounded < 0) | (unbounded > 255))
    left, sigma, right = np.linalg.svd(pixels / 255, full_matrices=False)
    exact = (left[..., lower:upper] * sigma[..., None, lower:upper]) @ right[..., lower:upper, :]
    np.testing.assert_allclose(cuts[replace(band, exact=True)].pixels, exact, atol=1e-6)


def test_low_band_and_high_add_up_to_the_image_where_no_pixel_is_clipped() -> None:
    pixels = photo()
    parts = (Variant("low", 2), Variant("band", 9, above=2), Variant("high", 9))
    low, band, high = (c.pixels.astype(int) for c in cuts_of(pixels, parts).values())
    inside = np.logical_and.reduce([(part > 0) & (part < 255) for part in (low, band, high)])
    assert inside.mean() > 0.5
    np.testing.assert_array_equal((low + band + high - 256)[inside], pixels[inside])


@pytest.mark.parametrize("radius", [1, 5, 9])
def test_passes_are_clipped_rounded_and_the_rest_around_128(radius: int) -> None:
    pixels = photo()
    requested = variants((), ("low", "high"), exact=True, radii=(radius,))
    cuts = {v.name: c.pixels for v, c in cuts_of(pixels, requested).items()}
    v, u = np.fft.fftfreq(16, 1 / 16), np.fft.fftfreq(20, 1 / 20)
    smooth = np.fft.ifft2(np.fft.fft2(pixels) * (v[:, None] ** 2 + u**2 <= radius**2)).real
    np.testing.assert_array_equal(cuts[f"lowpass{radius}"], np.clip(np.rint(smooth), 0, 255))
    np.testing.assert_array_equal(cuts[f"highpass{radius}"], np.clip(pixels - np.rint(smooth) + 128, 0, 255))
    np.testing.assert_allclose(cuts[f"lowpass{radius}-exact"], smooth / 255, atol=1e-6)
    np.testing.assert_allclose(cuts[f"highpass{radius}-exact"], (pixels - smooth) / 255, atol=1e-6)
