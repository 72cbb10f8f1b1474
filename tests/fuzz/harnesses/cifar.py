"""CIFAR batch files of both layouts, a pickle and records."""

import pickle
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.cifar import manifest
from pipeline.sources.cifar.batch import read_batch
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = False
_IMAGES = 2
_PATH = folder() / "batch"
_LAYOUTS = manifest.load("cifar10").layouts


def seeds() -> Iterator[bytes]:
    pixels = np.arange(_IMAGES * 3072, dtype=np.uint8).reshape(_IMAGES, 3072)
    yield np.column_stack([np.array([3, 9], np.uint8), pixels]).tobytes()
    yield from (pickle.dumps({b"data": pixels, b"labels": [3, 9]}, protocol) for protocol in (2, 3, 4))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86"
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    array += struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb"
    yield b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x03K\x09eu."  # as Python 2 wrote it


def parse(data: bytes) -> None:
    _PATH.write_bytes(data)
    for layout in _LAYOUTS:
        known = replace(layout.files[0], images=_IMAGES, bytes=len(data), md5="")
        try:
            batch = read_batch(_PATH, known, layout, 10, allow_unverified=True)
        except PipelineError as error:
            refused = error
            continue
        assert len(batch.labels) == len(batch.offsets) == _IMAGES and not batch.verified
        assert batch.offsets.min() >= 0 and batch.offsets.max() + 3072 <= len(data)
        return
    raise refused
