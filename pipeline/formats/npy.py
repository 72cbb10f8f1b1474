"""Encodes float images as ``.npy`` files. Format: NumPy's NEP 1, version 1.0, little-endian float32, C order."""

import io

import numpy as np

from pipeline.formats.packed import PackedFiles


def encode(pixels: np.ndarray) -> PackedFiles:
    """Returns one ``.npy`` file of shape (h, w, 3) per image. ``pixels``: float32 (n, 3, h, w)."""
    interleaved = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1), "<f4")
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(interleaved[0]))
    head = np.frombuffer(stream.getvalue(), np.uint8)
    images = interleaved.reshape(len(pixels), -1).view(np.uint8)
    files = np.concatenate([np.broadcast_to(head, (len(pixels), len(head))), images], axis=1)
    return PackedFiles(files.reshape(-1), files.shape[1] * np.arange(1, len(pixels) + 1))
