"""Rows of an output's Zarr arrays, which lie uncompressed in its claimed files, and in no others.

Written from the specification (Zarr 3.0, core), independently of what wrote them; a tenth of the time that zarr takes.
"""

import hashlib
import math

import numpy as np

from pipeline.proof import strict
from pipeline.proof.claims import Manifest
from pipeline.proof.faults import shown
from pipeline.proof.files import open_own

MAX_METADATA = 1 << 20  # bytes of an array's description; a builder's has some 1,000
MAX_CHUNK = 1 << 26  # bytes; more than a builder writes is not read
_ELSE = {"fill_value", "attributes", "dimension_names"}  # what a description says that changes no row


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
    described = f"{path}/zarr.json"
    rows = _chunk_rows(_content(manifest, described, MAX_METADATA, hashed=True), wanted, dtype, described)
    kind = np.dtype(dtype).newbyteorder("<")
    size, chunks = rows * kind.itemsize * math.prod(wanted[1:]), []
    first = start // rows
    for number in range(first, -(-stop // rows)):
        at = f"{path}/c.{number}" + ".0" * (len(wanted) - 1)
        content = _content(manifest, at, size)
        if len(content) != size:
            raise BadRows(at, f"it has {len(content):,} bytes, a chunk has {size:,}")
        chunks.append(np.frombuffer(content, kind).reshape(rows, *wanted[1:]))
    return np.concatenate(chunks)[start - first * rows : stop - first * rows]


def _chunk_rows(content: bytes, wanted: tuple[int, ...], dtype: str, described: str) -> int:
    """How many rows a chunk has, of an array that is described as such rows are, and as nothing else."""
    try:
        raw = strict.parse(content)
        rows = raw["chunk_grid"]["configuration"]["chunk_shape"][0]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadRows(described, f"it describes no array: {shown(' '.join(str(error).split()))}") from None
    if type(rows) is not int or not 0 < rows <= max(1, MAX_CHUNK // (np.dtype(dtype).itemsize * math.prod(wanted[1:]))):
        raise BadRows(described, "its chunks are larger than 64 MB, or none")
    right = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [*wanted],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *wanted[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "storage_transformers": [],
    }
    for key, value in (right | dict.fromkeys(raw.keys() - right.keys() - _ELSE)).items():
        if raw.get(key) != value:
            raise BadRows(described, f"{shown(key)} is {shown(str(raw.get(key)))}, not {value}")
    return rows


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
