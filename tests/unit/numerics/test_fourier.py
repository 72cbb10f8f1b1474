"""Low-pass images: their pixels, and the paper's bounds on their rank (section 9.1)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.numerics.fourier import lowpass

SIDES = st.integers(2, 24)


@st.composite
def planes(draw: st.DrawFn) -> np.ndarray:
    """float64 (2, h, w) of whole grey levels."""
    shape = (2, draw(SIDES), draw(SIDES))
    return draw(arrays.arrays(np.uint8, shape)).astype(np.float64)


def filtered(plane: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns a plane without the Fourier coefficients outside of a centred mask."""
    spectrum = np.fft.fft2(plane)
    assert mask.shape == spectrum.shape
    return np.fft.ifft2(spectrum * np.fft.ifftshift(mask))


def frequencies(size: int) -> np.ndarray:
    """Returns the frequencies of a centred spectrum, in whole periods."""
    return np.arange(size) - size // 2


def numerical_rank(plane: np.ndarray) -> int:
    values = np.linalg.svd(plane, compute_uv=False)
    return int(np.count_nonzero(values > 1e-9 * max(1.0, values[0])))


@settings(deadline=None)
@given(planes(), st.integers(0, 20))
def test_a_low_pass_image_is_that_of_the_discrete_fourier_transform(images: np.ndarray, radius: int) -> None:
    _, height, width = images.shape
    disc = frequencies(height)[:, None] ** 2 + frequencies(width) ** 2 <= radius**2
    for plane, cut in zip(images, lowpass(images, radius).planes, strict=True):
        reference = filtered(plane, disc)
        assert np.abs(reference.imag).max() < 1e-9
        np.testing.assert_allclose(cut, reference.real, atol=2e-9)


@settings(deadline=None)
@given(planes(), st.integers(0, 20))
def test_a_disc_of_radius_r_has_a_rank_of_at_most_2_r_plus_1(images: np.ndarray, radius: int) -> None:
    assert all(numerical_rank(plane) <= 2 * radius + 1 for plane in lowpass(images, radius).planes)


@settings(deadline=None)
@given(planes(), st.floats(0, 20))
def test_the_bound_holds_for_radii_between_whole_numbers(images: np.ndarray, radius: float) -> None:
    _, height, width = images.shape
    disc = frequencies(height)[:, None] ** 2 + frequencies(width) ** 2 <= radius**2
    assert numerical_rank(filtered(images[0], disc)) <= 2 * int(radius) + 1


@settings(deadline=None)
@given(planes(), st.integers(0, 11).map(lambda half: 2 * half + 1))
def test_a_centred_window_of_odd_side_k_has_a_rank_of_at_most_k(images: np.ndarray, side: int) -> None:
    _, height, width = images.shape
    window = (abs(frequencies(height))[:, None] <= side // 2) & (abs(frequencies(width)) <= side // 2)
    assert numerical_rank(filtered(images[0], window)) <= side


def test_noise_comes_within_one_of_the_bound() -> None:
    """The two outermost frequencies of an integer radius, (r, 0) and (-r, 0), have the same columns."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32)).astype(np.float64)
    assert [numerical_rank(lowpass(noise, radius).planes[0]) for radius in (1, 4, 10)] == [2, 8, 20]


@settings(deadline=None)
@given(planes(), st.integers(0, 20))
def test_pixels_are_the_rounded_image_and_ties_are_counted(images: np.ndarray, radius: int) -> None:
    smooth = lowpass(images, radius)
    np.testing.assert_array_equal(smooth.rounded, np.rint(smooth.planes))
    assert smooth.ties == np.count_nonzero(abs(abs(smooth.planes - smooth.rounded) - 0.5) < 1e-5)
    assert smooth.counts[1:] == (0, 0, 0)


def test_an_exact_half_is_rounded_to_even_despite_rounding_errors() -> None:
    board = 255.0 * (np.indices((24, 18)).sum(axis=0) % 2)  # its mean is 127.5
    brighter = board.copy()
    brighter[0, 0] += 24 * 18  # its mean is 128.5
    smooth = lowpass(np.stack([board, brighter]), 0)
    assert set(smooth.rounded.ravel().tolist()) == {128}
    assert smooth.ties == 2 * 24 * 18


@pytest.mark.parametrize("shape", [(32, 32), (7, 20)])
def test_with_every_frequency_the_image_is_unchanged(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, *shape)).astype(np.float64)
    np.testing.assert_array_equal(lowpass(images, 40).rounded, images)


def test_bits_depend_neither_on_the_batch_nor_on_the_place_in_it() -> None:
    images = np.random.default_rng(2).integers(0, 256, (11, 31, 40)).astype(np.float64)
    whole = lowpass(images, 6).planes
    for i in range(11):
        assert np.array_equal(lowpass(images[i : i + 1], 6).planes[0], whole[i])
    assert np.array_equal(lowpass(images[3:9], 6).planes, whole[3:9])
