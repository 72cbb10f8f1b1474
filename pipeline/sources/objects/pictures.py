"""Makes pictures of the images that datasets return: PIL images, NumPy arrays, torch tensors and encoded bytes."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import Undecodable, UsageError
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.sources.images import convert_image, decode_image
from pipeline.sources.index import Picture

_ALLOWED = "a PIL image, a uint8 array (h, w, 3) or (h, w), or a uint8 tensor (3, h, w) or (1, h, w)"
_TOLERANCE = 1e-3  # grey levels; k / 255 in float32 is within 3e-5 of a level


def picture_of(image: Any) -> Picture:
    """Returns the picture of an image.

    Float values are accepted if they are k / 255 for whole numbers k from 0 to 255, as torchvision's ``ToTensor`` makes
    them. The grey levels are then exact.

    Raises:
        UsageError: the image is of another type, shape or range. The text begins with what it is.
        Undecodable: the image is damaged, or has more than 8 bits a channel.
    """
    if isinstance(image, Image.Image):
        return convert_image(image)
    if isinstance(image, Mapping) and isinstance(image.get("bytes"), bytes):  # Hugging Face's Image(decode=False)
        image = image["bytes"]
    if isinstance(image, bytes):
        return decode_image(image)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(image, torch.Tensor):
        if image.dtype == torch.bfloat16:  # NumPy has none; like float16, it cannot hold grey levels / 255
            raise UsageError(f"a tensor of bfloat16, {_shape(image)}; allowed: {_ALLOWED}")
        return _of_array(image.detach().cpu().numpy(), planes=True)
    if isinstance(image, np.ndarray) or (hasattr(image, "__array__") and not isinstance(image, str)):
        return _of_array(np.asarray(image), planes=False)
    raise UsageError(f"a {type(image).__name__}; allowed: {_ALLOWED}")


def _of_array(array: np.ndarray, planes: bool) -> Picture:
    """Returns the picture of an array. ``planes``: whether channels are the first axis and not the last."""
    kind = "tensor" if planes else "array"
    described = f"{'an' if kind[0] == 'a' else 'a'} {kind} of {array.dtype}, {_shape(array)}"
    if array.ndim == 2:
        array = array[None] if planes else array[..., None]
    channels = array.shape[0 if planes else -1] if array.ndim == 3 else 0
    if channels not in (1, 3) or 0 in array.shape:
        other = array.ndim == 3 and array.shape[-1 if planes else 0] in (1, 3)
        order = "tensors are (3, h, w): permute(2, 0, 1)" if planes else "arrays are (h, w, 3): transpose(1, 2, 0)"
        raise UsageError(f"{described}; allowed: {_ALLOWED}{f'; {order}' if other else ''}")
    pixels = array if planes else array.transpose(2, 0, 1)
    if max(pixels.shape[1:]) > MAX_SIDE:
        raise Undecodable(f"too large: {pixels.shape[1]} x {pixels.shape[2]} pixels, at most {MAX_SIDE} a side")
    if pixels.dtype in (np.float32, np.float64):
        pixels = _levels(pixels, described)
    if pixels.dtype != np.uint8:
        raise UsageError(f"{described}; allowed: {_ALLOWED}")
    whole = np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])))
    return Picture(whole, "grey" if channels == 1 else "")


def _levels(values: np.ndarray, described: str) -> np.ndarray:
    """Returns the grey levels of float values k / 255. Raises UsageError for other values."""
    least, most = float(values.min()), float(values.max())
    if not (least >= 0 and most <= 1):  # NaN, too
        raise UsageError(
            f"{described}, with values from {least:.4g} to {most:.4g}; floats must be grey levels / 255 in [0, 1]: "
            "leave out Normalize, or give uint8"
        )
    scaled = values.astype(np.float64) * 255
    levels = np.rint(scaled)
    far = np.abs(scaled - levels) > _TOLERANCE
    if far.any():
        raise UsageError(
            f"{described}, with the value {float(values[far][0]):.6g}, which is no grey level / 255: resized or changed as "
            "floats; give the images as uint8 before that, and resize with resize= and crop="
        )
    return levels.astype(np.uint8)


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(map(str, array.shape))}{',' * (array.ndim == 1)})"
