"""Training batches from images in memory: random crops and flips, gathered from one padded tensor."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Samples:
    """Labelled images of one size.

    Attributes:
        pixels: uint8 (n, h, w, 3), grey levels.
        labels: int64 (n,).
        zero: grey level that becomes 0.0: 0 for images as stored, 128 for signed residuals of high-rank-only images.
    """

    pixels: Tensor
    labels: Tensor
    zero: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str) -> "Samples":
        """Returns the samples on a device."""
        return Samples(self.pixels.to(device), self.labels.to(device), self.zero)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def signed(self, zero: int) -> "Samples":
        """Returns the samples with another grey level for 0.0."""
        return Samples(self.pixels, self.labels, zero)

    def sample(self) -> Tensor:
        """Returns all pixels: mean and standard deviation are computed from them."""
        return self.pixels

    def augmented(self, padding: int, fill: int) -> "Augmented":
        """Returns the training batches."""
        return Augmented(self, padding, fill)

    @property
    def digest(self) -> str:
        """The first 12 digits of SHA-256 over pixels and labels."""
        digest = hashlib.sha256(self.pixels.cpu().numpy().data)
        digest.update(self.labels.cpu().numpy().data)
        return digest.hexdigest()[:12]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all samples in order, as network input and labels."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield network_input(self.pixels[rows], self.zero), self.labels[rows]


def network_input(pixels: Tensor, zero: int) -> Tensor:
    """Returns uint8 (n, h, w, 3) as float32 (n, 3, h, w), in units of the image in [0, 1], in channels-last memory."""
    return (pixels.permute(0, 3, 1, 2).float() - zero) / 255


class Augmented:
    """Batches of randomly cropped and flipped images, with labels.

    Args:
        samples: the training images.
        padding: pixels added on each side before the crop.
        fill: grey level of the padding.
    """

    def __init__(self, samples: Samples, padding: int, fill: int) -> None:
        self.samples, self.padding = samples, padding
        planes = F.pad(samples.pixels.permute(0, 3, 1, 2), (padding,) * 4, value=fill)
        self._padded = planes.permute(0, 2, 3, 1).contiguous()

    def steps(self, size: int) -> int:
        """Returns the number of batches in an epoch."""
        return max(1, len(self.samples) // size)

    def epoch(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches of ``size`` that contain every sample at most once. Fewer samples than ``size`` are one batch.

        Args:
            seed: seed of order, crops and flips.
        """
        count, (_, height, width, _) = len(self.samples), self.samples.pixels.shape
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=generator)
        size = min(size, count)
        for start in range(0, count - size + 1, size):
            rows = order[start : start + size]
            corner = torch.randint(0, 2 * self.padding + 1, (2, size, 1), generator=generator)
            flipped = torch.rand(size, 1, generator=generator) < 0.5
            columns = torch.arange(width)
            y = corner[0] + torch.arange(height)
            x = corner[1] + torch.where(flipped, columns.flip(0), columns)
            rows, y, x = (index.to(self._padded.device) for index in (rows, y, x))
            pixels = self._padded[rows[:, None, None], y[:, :, None], x[:, None, :]]
            yield network_input(pixels, self.samples.zero), self.samples.labels[rows]
