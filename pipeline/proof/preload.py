"""Imported once by the process that a proof's workers are forked from: what takes a second to load, and starts no thread."""

import numpy as np
import zarr  # noqa: F401

from pipeline.proof import loops, pool, screen, shard  # noqa: F401

_FLAT, _BATCH, _SUMS = np.zeros(3, np.uint8), np.zeros((1, 1, 4), np.uint8), np.zeros(3, np.uint64)
_NAMES, _SPANS = np.zeros((0, loops.NAME), np.uint8), np.zeros((0, loops.SPAN), np.int64)

loops.samples(_FLAT, 0, 0, 0, _NAMES, _NAMES, _NAMES, np.zeros(0, np.int64), _FLAT, _FLAT, 0, _SPANS)
loops.unfilter(_BATCH, _BATCH[:, :, 1:].copy())
loops.moments(_FLAT.reshape(1, 3), _SUMS, _SUMS)
loops.add_up(_FLAT, _FLAT, _FLAT)
loops.narrow(np.zeros(3, np.int16), np.zeros(3, np.int16), _FLAT, _FLAT)
loops.differ(_FLAT, _FLAT, _FLAT)
