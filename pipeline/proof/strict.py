"""JSON that says everything once: a key that comes twice is read in one way by one program and in another by the next."""

import json
from typing import Any


def parse(content: bytes) -> Any:
    """Raises ValueError, also of a repeated key, or RecursionError."""
    return json.loads(content, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in found if keys.count(key) > 1)!r} comes twice")
    return found
