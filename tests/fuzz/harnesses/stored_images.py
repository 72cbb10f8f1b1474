"""An image member of a shard, PNG or ``.npy``, as ``verify`` and as datasets decode it."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.data.pixels import decode_npy, decode_png
from pipeline.verification.shards.image import BadImage, decode, size_of
from tests.fuzz import repair

ALLOWED = (BadImage,)
JSON = False


def seeds() -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for mode in ("RGB", "L", "P", "RGBA"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
        yield buffer.getvalue()
    for array in ((pixels / 255).astype("<f4"), np.asfortranarray(pixels / 255), pixels):
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield buffer.getvalue()


def parse(data: bytes) -> None:
    repaired = repair.png(data)
    form = "npy" if repaired[:1] == b"\x93" else "png"
    for shape in (None, (5, 7)):
        try:
            taken = np.asarray((decode_npy if form == "npy" else decode_png)(repaired, shape))
            assert taken.ndim == 3 and taken.shape[2] == 3
        except ValueError:  # which its callers turn into one line
            pass
    shape = size_of(repaired, form)
    assert decode(repaired, shape, form).shape == (*shape, 3)
