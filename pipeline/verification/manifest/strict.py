"""JSON in UTF-8, everything said once: of a key that comes twice one program takes one value, and the next another."""

import json
from typing import Any


def parse(content: bytes) -> Any:
    """Raises ValueError, also of a repeated key, or RecursionError."""
    return json.loads(content.decode(), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in found if keys.count(key) > 1)!r} comes twice")
    return found
