"""Digests of decoded pixels: equal for equal keys, labels and pixels, whatever encoder wrote the files.

XXH3 is fast enough to hash every pixel: an image of 32 x 32 pixels takes 0.2 microseconds, against 2.6 with SHA-256 and
3.2 with BLAKE3. It is no cryptographic hash. None is needed: the digests compare two builds that their owner trusts, and
find differences that programs, processors and disks make. Against people who alter files, the manifest has the SHA-256 of
every file. docs/format.md defines the digest.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xxhash

MODULUS = 1 << 128


def sample_seed(key: str, label: int, height: int, width: int) -> int:
    """Returns the seed of a sample's hash, which brings its key, label and size into the digest."""
    return xxhash.xxh3_64_intdigest(b"%b %d %d %d" % (key.encode("ascii"), label, height, width))


def batch_digest(pixels: np.ndarray, seeds: Iterable[int]) -> int:
    """Returns the digest of samples: the sum of their hashes.

    A sum has no order, so the digest of a split is the sum of those of its shards, however it is divided into shards. The
    order of the samples is in their keys and in ``samples/SPLIT.jsonl``.

    Args:
        pixels: (n, 3, h, w), as stored: uint8, or float32 of exact variants.
        seeds: ``sample_seed`` of each.
    """
    stored = pixels if pixels.dtype == np.uint8 else pixels.astype("<f4", copy=False)
    images: Any = np.ascontiguousarray(stored).reshape(len(pixels), -1).view(np.uint8)
    return sum(map(xxhash.xxh3_128_intdigest, images, seeds)) % MODULUS


def to_text(digest: int) -> str:
    """Returns a digest as 32 hexadecimal digits."""
    return f"{digest % MODULUS:032x}"


def total(digests: Iterable[str]) -> str:
    """Returns the digest of samples that several digests are of."""
    return to_text(sum(int(digest, 16) for digest in digests))
