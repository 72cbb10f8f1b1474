"""Reads rows of an output's Zarr arrays, which are stored uncompressed in claimed files.

Written from the specification (Zarr 3.0, core), independently of the writer: the zarr package takes 0.13 s to import.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np

from pipeline.verification.faults import printable
from pipeline.verification.files import open_own
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import Manifest

MAX_METADATA = 1 << 20  # bytes of an array's description; a build writes about 1,000
MAX_CHUNK = 1 << 26  # bytes; the most that a build writes


class BadRows(Exception):
    """Rows cannot be read, or are not what the manifest describes.

    Attributes:
        file: the file at fault.
        claimed: whether it is the file that the manifest claims; if not, ``state_of`` says why.
    """

    def __init__(self, file: str, text: str = "", claimed: bool = True) -> None:
        super().__init__(text)
        self.file, self.claimed = file, claimed


def read(manifest: Manifest, path: str, shape: tuple[int, ...], dtype: str, start: int, stop: int) -> np.ndarray:
    """Returns rows ``start`` to ``stop`` of an array.

    Args:
        path: of the array in the output.
        shape: that the array must have.

    Raises:
        BadRows: a file is missing, is not the claimed one, or does not belong to such an array.
    """
    described = f"{path}/zarr.json"
    rows = _chunk_rows(_content(manifest, described, MAX_METADATA, hashed=True), shape, dtype, described)
    kind = np.dtype(dtype).newbyteorder("<")
    size, chunks = rows * kind.itemsize * math.prod(shape[1:]), []
    first = start // rows
    for number in range(first, -(-stop // rows)):
        at = f"{path}/c.{number}" + ".0" * (len(shape) - 1)
        content = _content(manifest, at, size)
        if len(content) != size:
            raise BadRows(at, f"it has {len(content):,} bytes, a chunk has {size:,}")
        chunks.append(np.frombuffer(content, kind).reshape(rows, *shape[1:]))
    return np.concatenate(chunks)[start - first * rows : stop - first * rows]


def check_group(manifest: Manifest, name: str) -> None:
    """Refuses a group with further fields, which might describe its arrays otherwise. Raises BadRows."""
    raw = _parsed(_content(manifest, name, MAX_METADATA, hashed=True), name)
    attributes = raw.pop("attributes", {})
    _check(raw, {"zarr_format": 3, "node_type": "group"}, name)
    if not isinstance(attributes, dict):
        raise BadRows(name, "attributes is no object")


def _chunk_rows(content: bytes, shape: tuple[int, ...], dtype: str, described: str) -> int:
    """Returns how many rows a chunk has, of an array that is described as a build describes it. Raises BadRows."""
    raw = _parsed(content, described)
    try:
        rows = raw["chunk_grid"]["configuration"]["chunk_shape"][0]
    except (LookupError, TypeError):
        raise BadRows(described, "it describes no array") from None
    if type(rows) is not int or not 0 < rows <= max(1, MAX_CHUNK // (np.dtype(dtype).itemsize * math.prod(shape[1:]))):
        raise BadRows(described, "its chunks are larger than 64 MB, or none")
    names = raw.get("dimension_names")
    named = isinstance(names, list) and len(names) == len(shape) and all(isinstance(name, str) for name in names)
    right = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [*shape],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *shape[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        "dimension_names": names if named else None,
        "storage_transformers": [],
    }
    _check({"attributes": {}, "dimension_names": None, "storage_transformers": []} | raw, right, described)
    return rows


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        raw = strict.parse(content)
    except (ValueError, RecursionError) as error:
        raise BadRows(name, f"it is no JSON: {printable(' '.join(str(error).split()))}") from None
    if not isinstance(raw, dict):
        raise BadRows(name, "it is no JSON object")
    return raw


def _check(raw: dict[str, Any], right: dict[str, Any], name: str) -> None:
    """Requires all fields and no others, each with its expected value and type. Raises BadRows."""
    for key in [*right, *sorted(raw.keys() - right.keys())]:
        if key not in raw or key not in right:
            raise BadRows(name, f"{printable(key)} is {'missing' if key in right else 'no field of it'}")
        if json.dumps(raw[key], sort_keys=True) != json.dumps(right[key], sort_keys=True):
            raise BadRows(name, f"{printable(key)} is {printable(str(raw[key]))}, not {right[key]}")


def _content(manifest: Manifest, name: str, most: int, hashed: bool = False) -> bytes:
    """Returns the content of a file of the claimed size and, if ``hashed``, of the claimed SHA-256. Raises BadRows."""
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
