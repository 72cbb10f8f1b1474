"""Rows of an output's Zarr arrays, which lie uncompressed in its claimed files, and in no others.

Written from the specification (Zarr 3.0, core), independently of what wrote them: zarr takes 0.13 s to import.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np

from pipeline.verification.faults import shown
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import Manifest
from pipeline.verification.shards.files import open_own

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


def check_group(manifest: Manifest, name: str) -> None:
    """Refuse a group whose description says more than what it is: it might describe its arrays otherwise. Raises BadRows."""
    raw = _parsed(_content(manifest, name, MAX_METADATA, hashed=True), name)
    said = raw.pop("attributes", {})
    _check(raw, {"zarr_format": 3, "node_type": "group"}, name)
    if not isinstance(said, dict):
        raise BadRows(name, "attributes is no object")


def _chunk_rows(content: bytes, wanted: tuple[int, ...], dtype: str, described: str) -> int:
    """How many rows a chunk has, of an array that is described as a builder describes it."""
    raw = _parsed(content, described)
    try:
        rows = raw["chunk_grid"]["configuration"]["chunk_shape"][0]
    except (LookupError, TypeError):
        raise BadRows(described, "it describes no array") from None
    if type(rows) is not int or not 0 < rows <= max(1, MAX_CHUNK // (np.dtype(dtype).itemsize * math.prod(wanted[1:]))):
        raise BadRows(described, "its chunks are larger than 64 MB, or none")
    names = raw.get("dimension_names")
    named = isinstance(names, list) and len(names) == len(wanted) and all(isinstance(name, str) for name in names)
    right = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [*wanted],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *wanted[1:]]}},
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
        raise BadRows(name, f"it is no JSON: {shown(' '.join(str(error).split()))}") from None
    if not isinstance(raw, dict):
        raise BadRows(name, "it is no JSON object")
    return raw


def _check(raw: dict[str, Any], right: dict[str, Any], name: str) -> None:
    """Whether all fields are there, no others, and each is just what it should be, of the same type."""
    for key in [*right, *sorted(raw.keys() - right.keys())]:
        if key not in raw or key not in right:
            raise BadRows(name, f"{shown(key)} is {'missing' if key in right else 'no field of it'}")
        if json.dumps(raw[key], sort_keys=True) != json.dumps(right[key], sort_keys=True):
            raise BadRows(name, f"{shown(key)} is {shown(str(raw[key]))}, not {right[key]}")


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
