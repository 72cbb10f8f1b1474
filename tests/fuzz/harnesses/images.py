"""Image files of every format that sources decode."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.errors import Undecodable
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.images import FORMATS, decode_image, header_size
from tests.fuzz import repair

ALLOWED = (Undecodable,)
JSON = False
_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGBA", "I;16"),
    "JPEG": ("L", "CMYK"),
    "TIFF": ("1", "P", "CMYK", "F"),
    "GIF": ("P",),
}


def seeds() -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    for kind in FORMATS:
        for mode in ("RGB", *_MODES.get(kind, ())):
            yield _saved(Image.fromarray(pixels).convert("L" if mode[0] in "IF" else "RGB").convert(mode), kind)
    yield _saved(Image.fromarray(pixels), "JPEG", progressive=True)
    yield from (_saved(Image.fromarray(pixels), "TIFF", compression=how) for how in ("tiff_lzw", "packbits", "jpeg"))
    yield _saved(Image.fromarray(pixels), "WEBP", lossless=True)
    yield _saved(Image.fromarray(pixels), "GIF", save_all=True, append_images=[Image.fromarray(255 - pixels)])


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def parse(data: bytes) -> None:
    repaired = repair.png(data)
    height, width = header_size(repaired)
    assert 0 < max(height, width) <= MAX_SIDE
    planes = decode_image(repaired).pixels
    assert planes.dtype == np.uint8 and planes.shape[0] == 3
