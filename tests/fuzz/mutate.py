"""Mutations of bytes and of JSON values, the same for the same seed."""

import json
import random
from typing import Any

_NUMBERS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"77777777777",
    b"-1",
    b"1e999",
    b"[" * 2000,
)
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 10**4299, 1.5, float("nan"), float("inf"), "", "..", "/etc/passwd", "\0",
    "\ud800", "rank1", "a\nb", [], {}, [[]], {"": None},
)  # fmt: skip


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """Changes, removes, repeats or inserts a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        end = at + rng.choice((1, 1, 2, 8, 64, 512))
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                new = rng.choice(_NUMBERS)
                changed[at : at + len(new)] = new
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end]
            case _:
                changed[at:at] = bytes([rng.randrange(256)])
    return bytes(changed)


def of_json(data: bytes, rng: random.Random) -> bytes:
    """Replaces, removes or moves a few values of a document, or of each of its lines."""
    try:
        lines = [json.loads(line) for line in data.splitlines()] if data[:1] == b"{" and b"\n{" in data else None
        document = json.loads(data) if lines is None else lines
    except (ValueError, RecursionError):
        return of_bytes(data, rng)
    places = list(_places(document))
    for _ in range(rng.randint(1, 3)):
        if not places:
            break
        where, key = rng.choice(places)
        other, there = rng.choice(places)
        try:
            match rng.randrange(4):
                case 0:
                    del where[key]
                case 1:
                    where[key] = json.loads(json.dumps(other[there]))
                case 2 if isinstance(where, dict):
                    where[str(rng.choice(_VALUES))] = where[key]
                case _:
                    where[key] = rng.choice(_VALUES)
        except (IndexError, KeyError, ValueError, RecursionError):
            continue  # an earlier change took the place away
    try:
        parts = document if lines is not None and isinstance(document, list) else [document]
        return b"\n".join(json.dumps(part).encode() for part in parts) + b"\n" * (lines is not None)
    except (ValueError, RecursionError):
        return data


def _places(document: Any) -> Any:
    waiting = [document]
    while waiting:
        inside = waiting.pop()
        for key in list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ():
            yield inside, key
            waiting.append(inside[key])
