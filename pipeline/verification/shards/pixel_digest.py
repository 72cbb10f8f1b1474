"""Computes the pixel digest of a shard from the images that verify decodes, independently of the build (docs/format.md)."""

from collections.abc import Sequence

import numpy as np
import xxhash

from pipeline.verification.listings import Sample

_ALL = (1 << 128) - 1


class PixelDigest:
    """The digest of one variant of a shard, batch by batch."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, samples: Sequence[Sample], pixels: np.ndarray) -> None:
        """Adds samples. ``pixels``: (n, h, w, 3), uint8 or little-endian float32."""
        _, height, width, _ = pixels.shape
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        for sample, image in zip(samples, planes, strict=True):
            text = f"{sample.key} {sample.label} {height} {width}"
            self._sum += xxhash.xxh3_128_intdigest(image, xxhash.xxh3_64_intdigest(text.encode()))

    def hexdigest(self) -> str:
        return f"{self._sum & _ALL:032x}"
