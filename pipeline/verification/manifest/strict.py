"""Parses JSON in UTF-8 without repeated keys: programs disagree about the value of a key that comes twice."""

import json
from typing import Any


def parse(content: bytes) -> Any:
    """Returns the parsed JSON. Raises ValueError, also for a repeated key, or RecursionError."""
    return json.loads(content.decode(), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in unique if keys.count(key) > 1)!r} comes twice")
    return unique
