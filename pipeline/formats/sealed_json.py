"""JSON with its own checksum: a document in which a bit has fallen over, or that was edited, is not believed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = "checksum"


def seal(document: Mapping[str, Any], indent: int | None = None) -> bytes:
    """The document as JSON, with the SHA-256 of what it says."""
    return json.dumps({**document, _SEAL: _digest(document)}, indent=indent).encode()


def unseal(data: bytes) -> dict[str, Any]:
    """What ``seal`` was given. Raises ValueError where there is no checksum, or it is of something else."""
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict) or document.pop(_SEAL, None) != _digest(document):
        raise ValueError("the checksum is missing, or of something else")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
