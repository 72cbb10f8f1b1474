"""JSON with its own checksum: a document in which a bit has fallen over, or that was edited, is not believed.

Documents without one, of older versions, are read as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = "checksum"


def seal(document: Mapping[str, Any], indent: int | None = None) -> bytes:
    """The document as JSON, with the SHA-256 of what it says."""
    return json.dumps({**document, _SEAL: _digest(document)}, indent=indent).encode()


def unseal(data: bytes) -> Any:
    """What ``seal`` was given. Raises ValueError where the checksum is of something else."""
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(document, dict) and _SEAL in document and document.pop(_SEAL) != _digest(document):
        raise ValueError("the checksum is of something else")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
