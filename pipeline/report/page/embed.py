"""Encodes pictures as data URIs, so that the page is one file."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.report.gallery import SMALL, Tile

_LARGEST = 224  # pixels a side; larger pictures are reduced for the page


def picture(tile: Tile) -> dict[str, object]:
    """Returns a tile for the template: data URI, size in pixels, and description."""
    height, width = tile.pixels.shape[:2]
    return {"src": _uri(tile.pixels), "width": width, "height": height, "alt": tile.alt}


def strip(frames: Sequence[np.ndarray]) -> str:
    """Returns the data URI of pictures side by side, of which the page shows one at a time."""
    return _uri(np.concatenate([_fit(frame) for frame in frames], axis=1), fit=False)


def _fit(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if max(height, width) <= _LARGEST:
        return pixels
    size = (max(1, round(_LARGEST * n / max(height, width))) for n in (width, height))
    return np.asarray(Image.fromarray(pixels).resize(tuple(size), Image.Resampling.LANCZOS))


def _uri(pixels: np.ndarray, fit: bool = True) -> str:
    """Returns a data URI: lossless PNG for small pictures, WebP for large ones, which needs a tenth of the bytes."""
    file = io.BytesIO()
    if pixels.shape[0] <= SMALL:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    Image.fromarray(_fit(pixels) if fit else pixels).save(file, "WEBP", quality=85, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
