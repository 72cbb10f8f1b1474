"""JSON that carries its own checksum: a document with a flipped bit, or an edited one, is refused."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = "checksum"


def seal(document: Mapping[str, Any], indent: int | None = None) -> bytes:
    """Returns the document as JSON, with the SHA-256 of its content."""
    return json.dumps({**document, _SEAL: _digest(document)}, indent=indent).encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Returns the document that ``seal`` encoded. Raises ValueError if the checksum is missing or wrong."""
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict) or document.pop(_SEAL, None) != _digest(document):
        raise ValueError("the checksum is missing or wrong")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
