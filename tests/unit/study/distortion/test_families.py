"""Distortions equal those of LAPACK, scipy, NumPy's FFT and Pillow; controls have the error of rank k."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.errors import UsageError
from pipeline.study.distortion.families import (
    CONTROLS,
    Blur,
    LowPass,
    Noise,
    parse_families,
    rank_images,
    stored_rank_images,
)
from pipeline.study.distortion.jpeg import Jpeg
from pipeline.study.distortion.matching import TOLERANCE, create, distort, mse, psnr
from pipeline.study.images import Images
from tests.conftest import smooth


def batch(count: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (n, 3, h, w)."""
    rng = np.random.default_rng(seed)
    return np.stack([smooth(rng, height, width).transpose(2, 0, 1) for _ in range(count)])


def lapack(pixels: np.ndarray, k: int) -> np.ndarray:
    """Returns the image at rank k of Algorithm 1."""
    u, s, v = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
    s[..., k:] = 0
    cut: np.ndarray = (u * s[..., None, :]) @ v
    return cut


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 32), (33, 16)])
def test_rank_images_equal_lapacks(height: int, width: int) -> None:
    pixels = batch(4, height, width)
    images = list(rank_images(pixels))
    assert len(images) == min(height, width) + 1
    for k, image in enumerate(images):
        np.testing.assert_allclose(image, lapack(pixels, k), atol=1e-5)
    assert not images[0].any()
    np.testing.assert_array_equal(images[-1], pixels)


def test_stored_rank_images_are_rounded_and_clipped(test_images: Images) -> None:
    pixels = test_images.first(8).pixels.transpose(0, 3, 1, 2)
    for k, image in enumerate(stored_rank_images(pixels)):
        reference = lapack(pixels, k)
        tie = np.abs(reference - np.floor(reference) - 0.5) < 1e-5
        np.testing.assert_array_equal(image[~tie], np.clip(np.rint(reference), 0, 255)[~tie])


@pytest.mark.parametrize("sigma", [0.8, 1.5, 4.0])
def test_blur_is_scipys_gaussian_filter_with_mirrored_borders(sigma: float) -> None:
    images = batch(2, 32, 24).astype(np.float64)
    theirs = gaussian_filter(images, (0, 0, sigma, sigma), mode="reflect", truncate=8)
    blurred = Blur(images).apply(np.full(2, np.log2(sigma)))
    np.testing.assert_allclose(blurred, theirs, atol=0.5)  # scipy samples the kernel, ours solves the heat equation
    assert np.abs(blurred - theirs).mean() < 0.1


def test_the_strongest_blur_is_the_mean_of_each_channel() -> None:
    images = batch().astype(np.float64)
    blur = Blur(images)
    np.testing.assert_allclose(
        blur.apply(np.full(3, blur.high)), images.mean((2, 3), keepdims=True) + 0 * images, atol=1e-6
    )


def test_lowpass_is_a_disc_of_the_fourier_transform() -> None:
    images = batch(2, 32, 32).astype(np.float64)
    lowpass = LowPass(images)
    distances = np.hypot(*np.meshgrid(np.fft.fftfreq(32) * 32, np.fft.fftfreq(32) * 32))
    rings = np.unique(distances.round(6))
    for kept in (1, 5, 40, len(rings)):
        disc = distances <= rings[kept - 1] + 1e-6
        expected = np.fft.ifft2(np.fft.fft2(images) * disc).real
        np.testing.assert_allclose(lowpass.apply(np.full(2, float(len(rings) - kept))), expected, atol=1e-8)


def test_noise_depends_only_on_the_key() -> None:
    images = batch(3).astype(np.float64)
    together = Noise(images, ["a", "b", "c"]).apply(np.full(3, 3.0)) - images
    alone = Noise(images[1:2], ["b"]).apply(np.full(1, 3.0)) - images[1:2]
    np.testing.assert_allclose(together[1], alone[0], atol=1e-12)
    assert together.std() == pytest.approx(8, rel=0.02)
    assert np.corrcoef(together[0].ravel(), together[1].ravel())[0, 1] == pytest.approx(0, abs=0.05)


def test_jpeg_at_scale_one_is_pillows_quality_50(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "geomspace", lambda low, high, count: np.linspace(1, 2, count))
    pixels = batch(1)
    file = io.BytesIO()
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(file, "JPEG", quality=50, subsampling=0)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    jpeg = Jpeg(pixels)
    error = ((expected.astype(float) - pixels[0]) ** 2).mean()
    assert jpeg.errors[0, 0] == pytest.approx(error)
    image, nearest = jpeg.nearest(np.array([error]))
    np.testing.assert_array_equal(image[0], expected)
    assert nearest[0] == pytest.approx(error)


@pytest.mark.parametrize("name", ["blur", "lowpass", "noise"])
def test_the_error_equals_that_of_the_pixels_and_increases(name: str) -> None:
    images = batch(2, 16, 24).astype(np.float64)
    family = create(name, images, ["a", "b"])
    parameters = np.linspace(family.low, family.high, 25)
    predicted = family.error(np.stack([parameters, parameters]))
    for i, parameter in enumerate(parameters):
        measured = mse(family.apply(np.full(2, parameter)), images)
        np.testing.assert_allclose(predicted[:, i], measured, rtol=1e-6, atol=1e-8)
    assert (np.diff(predicted, axis=1) >= -1e-9).all()


@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(6, 40))
@settings(max_examples=15, deadline=None)
def test_every_control_has_the_error_of_rank_k(seed: int, height: int, width: int) -> None:
    pixels = batch(2, height, width, seed)
    _check_match(pixels, ("rank", "lowpass", "noise", "blur"), as_stored=False)


@pytest.mark.parametrize("as_stored", [False, True])
def test_every_control_has_the_error_of_rank_k_on_photographs(as_stored: bool, test_images: Images) -> None:
    _check_match(test_images.first(8).pixels.transpose(0, 3, 1, 2), ("rank", *CONTROLS), as_stored)


def _check_match(pixels: np.ndarray, names: tuple[str, ...], as_stored: bool) -> None:
    """Checks that matched images have the error of rank k, and that unmatched ones are outside the family's range."""
    images, ranks = pixels.astype(np.float64), min(pixels.shape[2:])
    targets: dict[int, np.ndarray] = {}
    matched: dict[str, int] = dict.fromkeys(names, 0)
    for distorted in distort(pixels, [str(i) for i in range(len(pixels))], names, as_stored):
        error = mse(distorted.images, images)
        np.testing.assert_allclose(distorted.error, error, rtol=1e-9, atol=1e-12)
        target = targets.setdefault(distorted.rank, error)  # rank comes first
        close = distorted.matched & (target > 0)
        assert (np.abs(psnr(error[close]) - psnr(target[close])) <= TOLERANCE).all()
        assert (error[distorted.matched & (target == 0)] == 0).all()
        matched[distorted.family] += int(distorted.matched.sum())
        if as_stored:
            assert (distorted.images == np.clip(np.rint(distorted.images), 0, 255)).all()
        elif distorted.family in ("lowpass", "noise"):
            assert distorted.matched.all(), (distorted.family, distorted.rank)
        elif distorted.family == "blur" and distorted.rank:
            assert distorted.matched.all() or distorted.rank > ranks - 4
    assert min(matched.values()) > 0.3 * len(pixels) * ranks


def test_rank_is_always_the_first_family() -> None:
    assert parse_families("blur,rank,blur") == ("rank", "blur")
    assert parse_families("noise") == ("rank", "noise")
    with pytest.raises(UsageError, match="'blurr'.*did you mean 'blur'"):
        parse_families("rank,blurr")
