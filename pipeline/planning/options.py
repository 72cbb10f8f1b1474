"""The options of a build, each parsed by itself: a flag's text, or a scalar or list of a job file."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, nearest
from pipeline.execution.device import KINDS
from pipeline.formats.factors import DTYPES
from pipeline.numerics.geometry import MAX_SIDE
from pipeline.numerics.variants import COMPONENTS
from pipeline.sources import DATASETS
from pipeline.storage.location import Location, parse_url

_ORDERS = ("source", "shuffled")
_LARGEST = 10**18 - 1
_LONGEST = 200  # characters of a wrong value in an error


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UsageError(f"{key}: {_shown(value)} is not a text")
    try:
        os.fsencode(value)  # a job file can write half a surrogate pair, which no file's name can hold
    except UnicodeEncodeError:
        raise UsageError(f"{key}: {_shown(value)} is not a text") from None
    return value.strip()


def _shown(value: Any) -> str:
    """A wrong value as it was given, and no longer than one reads."""
    if isinstance(value, bool):  # which YAML has many words for
        return "true (or yes, on)" if value else "false (or no, off)"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _path(key: str, value: Any) -> Path:
    try:
        return Path(_text(key, value)).expanduser()
    except RuntimeError as error:  # ~nobody-of-that-name
        raise UsageError(f"{key}: {_shown(value)}: {error}") from None


def _location(key: str, value: Any) -> Location:
    return parse_url(key, _text(key, value)) or _path(key, value)


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value.strip()):
        raise UsageError(
            f"{key}: {_shown(value)} must be 1 to 40 letters, digits, '-' or '_' (readers split names at dots)"
        )
    return value.strip()


def _choice(allowed: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in allowed:
            raise UsageError(
                f"{key}: {_shown(value)} is not one of {', '.join(allowed)}{nearest(str(value)[:_LONGEST], allowed)}"
            )
        return str(value)

    return parse


def _items(key: str, value: Any, example: str = "3,5,10") -> list[str]:
    """The texts of a comma-separated list (a flag) or a YAML list."""
    items = value if isinstance(value, list) else str(value).split(",")
    texts = [str(item).strip() if isinstance(item, str | int) and not isinstance(item, bool) else "" for item in items]
    if not texts or "" in texts:
        raise UsageError(f"{key}: {_shown(value)} has an empty or unreadable item; write for instance {example}")
    text, count = Counter(texts).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{key}: {text} is given twice in {_shown(value)}")
    return texts


def _ranks(key: str, value: Any) -> tuple[int, ...]:
    ranks = sorted(_integer(1)(key, text) for text in _items(key, value))
    _items(key, list(ranks))  # 3 and 03 are the same rank
    return tuple(ranks)


def _bands(key: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of ranks. Ray's launcher reads a 3:10 that is not quoted as 190, as YAML 1.1 has it."""
    bands = []
    for text in _items(key, value, "3:5,5:10"):
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", text)
        if not match or not 0 < int(match[1]) < int(match[2]):
            raise UsageError(
                f"{key}: {text!r} is no band; write a smaller and a larger rank, as in 50:100 (quoted in a job file)"
            )
        bands.append((int(match[1]), int(match[2])))
    _items(key, [f"{lower}:{upper}" for lower, upper in bands])  # 3:5 and 03:5 are the same band
    return tuple(sorted(bands))


def _components(key: str, value: Any) -> tuple[str, ...]:
    given = [_choice(COMPONENTS)(key, text) for text in _items(key, value, "low,high")]
    return tuple(component for component in COMPONENTS if component in given)


def _splits(key: str, value: Any) -> tuple[str, ...]:
    return tuple(_items(key, value, "train,test"))


def _integer(least: int, most: int = _LARGEST) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", str(value)):
            raise UsageError(f"{key}: {_shown(value)} is not a whole number")
        text = str(value)
        number = int(value) if len(text) < 19 else -most if text[0] == "-" else most + 1
        if number < least:
            raise UsageError(f"{key}: {text[:_LONGEST]} is too small, the least is {least}")
        if number > most:
            raise UsageError(f"{key}: {text[:_LONGEST]} is too large, the most is {most}")
        return number

    return parse


def _integer_or(word: str, least: int, most: int) -> Callable[[str, Any], int | str]:
    def parse(key: str, value: Any) -> int | str:
        if value == word:
            return word
        if not re.fullmatch(r"[+-]?[0-9]+", str(value)):
            raise UsageError(f"{key}: {_shown(value)} is neither a number of pixels nor {word!r}")
        return _integer(least, most)(key, value)

    return parse


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{key}: {_shown(value)} is neither true nor false")
    return value


def _factors(key: str, value: Any) -> str | None:
    """``--factors`` alone means float32; in a job file also true or false."""
    if isinstance(value, bool):
        return "float32" if value else None
    return _choice(tuple(DTYPES))(key, value)


def _address(key: str, value: Any) -> str:
    text = _text(key, value)
    if "://" in text:
        raise UsageError(
            f"{key}: {_shown(text)} is not of the form host:port; a build runs on a node of its cluster, where auto is "
            f"enough, and ray job submit takes it there from elsewhere"
        )
    if text not in ("auto", "local") and not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", text):
        raise UsageError(f"{key}: {_shown(text)} is neither auto, local nor host:port, as in 10.0.0.1:6379")
    return text


def _log_json(key: str, value: Any) -> str | None:
    """``--log-json`` alone means stderr; in a job file also true or false."""
    if isinstance(value, bool):
        return "-" if value else None
    return _text(key, value)


# Every option, by the name of its flag, which is also its key in a job file.
OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "dataset": _choice(DATASETS),
    "data-dir": _path,
    "name": _name,
    "ranks": _ranks,
    "bands": _bands,
    "radii": _ranks,
    "components": _components,
    "label-key": _text,
    "classes": _path,
    "splits": _splits,
    "out": _location,
    "resize": _integer_or("native", 2, MAX_SIDE),
    "crop": _integer_or("none", 2, MAX_SIDE),
    "order": _choice(_ORDERS),
    "seed": _integer(0),
    "samples-per-shard": _integer(1, 1_000_000),
    "limit": _integer(1),
    "device": _choice(KINDS),
    "gpus": _integer(1),
    "workers": _integer(0),
    "address": _address,
    "max-rejects": _integer(0),
    "stall": _integer(0, 86_400),
    "allow-unverified": _flag,
    "overwrite": _flag,
    "exact": _flag,
    "factors": _factors,
    "recheck": _flag,
    "dry-run": _flag,
    "quiet": _flag,
    "log-json": _log_json,
}
