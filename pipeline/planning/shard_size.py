"""How many samples a shard holds, such that every split has a number of shards that distributed training can divide."""

from collections.abc import Mapping

import numpy as np

from pipeline.errors import UsageError

# The smallest size that is chosen, as a share of the size that was asked for: smaller shards would be many.
_LEAST = 4


def divisible_size(most: int, entries: Mapping[str, int], divisor: int) -> int:
    """Returns the largest number of samples per shard with which the shards of every split are a multiple of ``divisor``.

    Args:
        most: the largest size that is allowed. Sizes below a quarter of it are not used.
        entries: number of entries by split.
        divisor: what the numbers of shards must be divisible by.

    Raises:
        UsageError: no size fits.
    """
    sizes = np.arange(most, (most - 1) // _LEAST, -1)
    fits = np.ones(len(sizes), bool)
    for count in entries.values():
        fits &= -(-count // sizes) % divisor == 0
    if not fits.any():
        splits = " and ".join(f"{split} ({count:,} images)" for split, count in entries.items())
        raise UsageError(
            f"shards-divisible-by: with {sizes[-1]:,} to {most:,} samples in a shard, no number of shards of {splits} is "
            f"divisible by {divisor}; choose a smaller one, another --samples-per-shard, or one of the --splits"
        )
    return int(sizes[np.argmax(fits)])
