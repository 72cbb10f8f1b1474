"""Rows of an output's Zarr arrays, read by zarr: it is given the bytes of claimed files, and opens none itself.

So it meets no pipe, no link, no file that the manifest does not name, and none of another size than it says.
"""

import hashlib
import math
from typing import Any

import numpy as np

from pipeline.proof.claims import Manifest
from pipeline.proof.faults import shown
from pipeline.proof.files import open_own

MAX_METADATA = 1 << 20  # bytes of an array's description; a builder's has some 1,000
MAX_CHUNK = 1 << 26  # bytes; more than a builder writes is not read


class BadRows(Exception):
    """Rows cannot be read, or are not what the manifest describes.

    Attributes:
        file: at fault.
        claimed: it is the file that the manifest claims; where it is not, ``state_of`` says why.
    """

    def __init__(self, file: str, text: str = "", claimed: bool = True) -> None:
        super().__init__(text)
        self.file, self.claimed = file, claimed


def read(manifest: Manifest, path: str, wanted: tuple[int, ...], dtype: str, start: int, stop: int) -> np.ndarray:
    """Rows ``start`` to ``stop`` of an array.

    Args:
        path: of the array in the output.
        wanted: its shape.

    Raises:
        BadRows: a file is not there or not the claimed one, or is no part of such an array.
    """
    import zarr  # a quarter of a second, which --help must not wait for
    from zarr.core.buffer import Buffer, default_buffer_prototype
    from zarr.storage import MemoryStore

    described, made = f"{path}/zarr.json", default_buffer_prototype().buffer.from_bytes
    files: dict[str, Buffer] = {"zarr.json": made(_content(manifest, described, MAX_METADATA, hashed=True))}
    at = described
    try:
        array: Any = zarr.open_array(MemoryStore(files), mode="r", zarr_format=3)
        most = _check(array, wanted, dtype, described)
        rows = array.chunks[0]
        for number in range(start // rows, -(-stop // rows)):
            key = array.metadata.encode_chunk_key((number, *(0 for _ in wanted[1:])))
            at = f"{path}/{key}"
            files[key] = made(_content(manifest, at, most))
        return np.asarray(array[start:stop])
    except BadRows:
        raise
    except Exception as error:  # zarr raises what it likes on hostile metadata
        raise BadRows(at, f"zarr cannot read it: {shown(' '.join(str(error).split()))}") from None


def _content(manifest: Manifest, name: str, most: int, hashed: bool = False) -> bytes:
    """A claimed file of the claimed size; where it is small enough to be hashed each time, of the claimed content."""
    claim = manifest.files.get(name)
    if claim is None:
        raise BadRows(name, "it is needed, but not in the manifest")
    if claim.size > most:
        raise BadRows(name, f"{claim.size:,} bytes are more than it can have")
    try:
        with open_own(manifest.root / name, claim.size) as file:
            content = file.read(claim.size + 1)
    except OSError:
        raise BadRows(name, claimed=False) from None
    if len(content) != claim.size or (hashed and hashlib.sha256(content).hexdigest() != claim.sha256):
        raise BadRows(name, claimed=False)
    return content


def _check(array: Any, wanted: tuple[int, ...], dtype: str, described: str) -> int:
    """Refuse what would not be this output's array, or would take more memory than it may; gives a chunk's most bytes."""
    if array.shape != wanted or array.dtype != np.dtype(dtype):
        raise BadRows(described, f"{array.dtype} {array.shape}, not {dtype} {wanted}")
    plain = type(array.metadata.codecs[0]).__name__ == "BytesCodec" and len(array.metadata.codecs) == 1
    row, chunk = (np.dtype(dtype).itemsize * math.prod(shape) for shape in (wanted[1:], array.chunks))
    if not plain or chunk > max(MAX_CHUNK, row) or array.chunks[1:] != wanted[1:]:
        raise BadRows(described, "it is compressed, or its chunks are larger than 64 MB, or no whole rows")
    return chunk
