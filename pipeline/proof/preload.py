"""Imported once by the process that a proof's workers are forked from: what takes a second to load, and starts no thread."""

import numpy as np
import zarr  # noqa: F401

from pipeline.proof import law_loops, libdeflate, literals, png_loops, pool, screen, shard, tar_loops  # noqa: F401

_FLAT, _ROWS, _SUMS = np.zeros(3, np.uint8), np.zeros((1, 1, 3), np.uint8), np.zeros(3, np.uint64)
_NAMES, _SPANS, _DIGITS = (
    np.zeros((0, tar_loops.NAME), np.uint8),
    np.zeros((0, tar_loops.SPAN), np.int64),
    _SUMS[:0].view(int),
)
_LINES, _DONE = np.zeros((literals.LANES, literals.SLACK), np.uint8), np.zeros(0, np.bool_)

tar_loops.samples(_FLAT, 0, 0, 0, _NAMES, _NAMES, _NAMES, _DIGITS, _FLAT, _FLAT, 0, _SPANS)
tar_loops.index(_SPANS, 0, _NAMES, _NAMES, _DIGITS, _FLAT)
literals.unpack(_FLAT, _DIGITS, _DIGITS, 0, _LINES, _DONE)
if libdeflate.FOUND:
    _LIBRARY = libdeflate.UNPACK, libdeflate.CRC32, libdeflate.ADLER32, libdeflate.decompressor()
    png_loops.decode(_FLAT, _SPANS, *_LIBRARY, _LINES, _DONE, _ROWS)
law_loops.moments(_FLAT.reshape(1, 3), _SUMS, _SUMS)
law_loops.add_up(_FLAT, _FLAT, _FLAT)
law_loops.narrow(np.zeros(3, np.int16), np.zeros(3, np.int16), _FLAT, _FLAT)
law_loops.differ(_FLAT, _FLAT, _FLAT)
