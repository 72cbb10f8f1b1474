"""Adler-32, the checksum of a zlib stream (RFC 1950, section 8)."""

from typing import Any

import numpy as np

from pipeline.numerics.jit import step

_PRIME = 65521
_PART = 2048  # bytes whose sums cannot overflow 32 bits: 255 * 2048 * 2049 / 2 < 2 ** 32


@step
def adler32(data: Any) -> Any:
    """Returns the Adler-32 of uint8 data, uint64.

    The sums of a part are plain sums, which the compiler turns into vector instructions; only the end of a part needs
    divisions.
    """
    low, high = np.uint64(1), np.uint64(0)
    for start in range(0, len(data), _PART):
        part = data[start : start + _PART]
        size = len(part)
        total, weighted = np.uint32(0), np.uint32(0)
        for place in range(size):
            value = np.uint32(part[place])
            total += value
            weighted += np.uint32(size - place) * value
        high = (high + np.uint64(size) * low + np.uint64(weighted)) % np.uint64(_PRIME)
        low = (low + np.uint64(total)) % np.uint64(_PRIME)
    return (high << np.uint64(16)) | low
