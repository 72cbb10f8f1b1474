"""Imported once by the process that a proof's workers are forked from: what takes a second to load, and starts no thread."""

import gc

gc.disable()  # a sixth of the time: all that follows stays

import numpy as np  # noqa: E402

from pipeline.verification import pool  # noqa: E402, F401
from pipeline.verification.listings import Sample  # noqa: E402
from pipeline.verification.shards import (  # noqa: E402, F401
    complement_loops,
    diagnosis,
    fast_check,
    libdeflate,
    literals,
    png_loops,
    tar_loops,
)
from pipeline.verification.shards.png_batch import names_of  # noqa: E402

_FLAT, _ROWS, _SUMS = np.zeros(3, np.uint8), np.zeros((1, 1, 3), np.uint8), np.zeros(3, np.uint64)
_NAMES, _SPANS, _HEAD = (
    names_of([Sample(0, "", 0)]),
    np.zeros((0, tar_loops.SPAN), np.int64),
    np.frombuffer(b"-", np.uint8),
)
_NONE, _PLACES = [of[:0] for of in _NAMES], _SPANS[:, 0] + 2
_LINES, _DONE = np.zeros((literals.LANES, literals.SLACK), np.uint8), np.zeros(0, np.bool_)

tar_loops.samples(_FLAT, 0, 0, 0, *_NONE, _HEAD, _HEAD, 0, _SPANS)
tar_loops.index(_SPANS, 0, _NONE[0], _NONE[1], _NONE[3], _FLAT)
literals.unpack(_FLAT, _PLACES, _PLACES, 0, _LINES, _DONE)
if libdeflate.FOUND:
    _LIBRARY = libdeflate.UNPACK, libdeflate.CRC32, libdeflate.ADLER32, libdeflate.decompressor()
    png_loops.decode(_FLAT, _SPANS, 0, *_LIBRARY, _LINES, _DONE, _ROWS)
complement_loops.moments(_FLAT.reshape(1, 3), _SUMS, _SUMS)
complement_loops.add_up(_FLAT, _FLAT, _FLAT)
complement_loops.narrow(np.zeros(3, np.int16), np.zeros(3, np.int16), _FLAT, _FLAT)
complement_loops.differ(_FLAT, _FLAT, _FLAT)
gc.freeze()  # nor does a worker look through it, or copy it by doing so
gc.enable()
