"""Encodes float images as ``.npy`` files. Format: NumPy's NEP 1, version 1.0, little-endian float32, C order."""

import io

import numpy as np


def encode(pixels: np.ndarray) -> list[bytes]:
    """Returns one ``.npy`` file of shape (h, w, 3) per image. ``pixels``: float32 (n, 3, h, w)."""
    interleaved = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1), "<f4")
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(interleaved[0]))
    return [head.getvalue() + image.tobytes() for image in interleaved]
