"""Batches are crops and flips of padded images: each image at most once per epoch, the same for the same seed."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.study.training.batches import Augmented, Samples


def numbered(count: int, height: int, width: int) -> Samples:
    """Noise images with different labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Samples(torch.from_numpy(pixels), torch.arange(count))


def windows(image: np.ndarray, padding: int, fill: int) -> dict[bytes, tuple[int, int, bool]]:
    """Returns corner and flip of every crop of uint8 (h, w, 3), padded by NumPy."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    crops = {}
    for y in range(2 * padding + 1):
        for x in range(2 * padding + 1):
            crop = padded[y : y + height, x : x + width]
            crops[crop.tobytes()] = (y, x, False)
            crops[crop[:, ::-1].tobytes()] = (y, x, True)
    return crops


def grey(x: torch.Tensor) -> np.ndarray:
    """Returns float (n, 3, h, w) in [0, 1] as uint8 (n, h, w, 3)."""
    levels: np.ndarray = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return levels


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 9),
    size=st.integers(1, 12),
    height=st.integers(3, 7),
    width=st.integers(3, 7),
    padding=st.integers(0, 4),
    fill=st.sampled_from([0, 128]),
    seed=st.integers(0, 99),
)
def test_every_image_comes_at_most_once_as_a_crop_of_itself(
    count: int, size: int, height: int, width: int, padding: int, fill: int, seed: int
) -> None:
    samples = numbered(count, height, width)
    batches = list(Augmented(samples, padding, fill).epoch(size, seed))
    assert [len(labels) for _, labels in batches] == [min(size, count)] * max(1, count // size)
    labels = torch.cat([labels for _, labels in batches]).tolist()
    assert len(set(labels)) == len(labels)
    for image, label in zip(np.concatenate([grey(x) for x, _ in batches]), labels, strict=True):
        assert image.tobytes() in windows(samples.pixels[label].numpy(), padding, fill)


def test_crops_are_uniform_and_half_are_flipped() -> None:
    samples = Samples(numbered(1, 5, 6).pixels.repeat(20_000, 1, 1, 1), torch.zeros(20_000, dtype=torch.int64))
    ((x, _),) = Augmented(samples, 2, 128).epoch(20_000, 0)
    crops = windows(samples.pixels[0].numpy(), 2, 128)
    seen = [crops[image.tobytes()] for image in grey(x)]
    counts = np.bincount([5 * y + x for y, x, _ in seen], minlength=25)
    assert counts.min() > 800 - 5 * 28  # expected: 800, with a standard deviation of 28
    assert counts.max() < 800 + 5 * 28
    assert abs(np.mean([flipped for *_, flipped in seen]) - 0.5) < 5 * 0.0036


def test_order_and_crops_depend_on_the_seed() -> None:
    data = Augmented(numbered(64, 8, 8), 4, 0)
    first, again, other = (torch.cat([x for x, _ in data.epoch(16, seed)]) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_grey_level_128_is_zero_in_signed_images_and_their_padding() -> None:
    samples = Samples(torch.full((4, 6, 6, 3), 128, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), zero=128)
    ((x, _),) = Augmented(samples, 4, 128).epoch(4, 0)
    assert torch.equal(x, torch.zeros(4, 3, 6, 6))
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    ((signed, _),) = Samples(levels, torch.zeros(1), zero=128).batches(5)
    np.testing.assert_allclose(signed[0, 2].flatten().numpy(), np.arange(-128, 128) / 255, rtol=1e-6)
