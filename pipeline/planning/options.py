"""The options of a build, declared once: flags of the command line, keys of a job file, and fields of ``Job``.

Light to import: ``--help`` answers without NumPy.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, nearest
from pipeline.numerics.variants import COMPONENTS
from pipeline.sources import DATASETS
from pipeline.storage.location import Location, parse_url

DEVICES = ("auto", "cpu", "cuda")
_ORDERS = ("source", "shuffled")
_LARGEST = 10**18 - 1
_LONGEST = 200  # characters of a wrong value in an error


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        name: of the flag, without dashes; also the key in a job file.
        parse: returns the value for the option's name and a raw value: a flag's text, or a scalar or list of a job file.
            Raises UsageError: what was given, what is allowed, and the nearest valid spelling.
        help: the text in ``--help``.
        metavar: the name of the value in ``--help``; None for a switch.
        bare: the value of a flag without a value; None if it needs one.
    """

    name: str
    parse: Callable[[str, Any], Any]
    help: str
    metavar: str | None = None
    bare: str | None = None


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UsageError(f"{key}: {_quoted(value)} is not a text")
    try:
        os.fsencode(value)  # a job file can hold half a surrogate pair, and a file name cannot
    except UnicodeEncodeError:
        raise UsageError(f"{key}: {_quoted(value)} is not a text") from None
    return value.strip()


def _quoted(value: Any) -> str:
    """Returns a wrong value for an error message, shortened if it is long."""
    if isinstance(value, bool):  # YAML has several words for each
        return "true (or yes, on)" if value else "false (or no, off)"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _path(key: str, value: Any) -> Path:
    try:
        return Path(_text(key, value)).expanduser()
    except RuntimeError as error:  # ~user of an unknown user
        raise UsageError(f"{key}: {_quoted(value)}: {error}") from None


def _location(key: str, value: Any) -> Location:
    return parse_url(key, _text(key, value)) or _path(key, value)


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value.strip()):
        raise UsageError(
            f"{key}: {_quoted(value)} must be 1 to 40 letters, digits, '-' or '_' (readers split names at dots)"
        )
    return value.strip()


def _choice(allowed: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in allowed:
            raise UsageError(
                f"{key}: {_quoted(value)} is not one of {', '.join(allowed)}{nearest(str(value)[:_LONGEST], allowed)}"
            )
        return str(value)

    return parse


def _items(key: str, value: Any, example: str = "3,5,10") -> list[str]:
    """Returns the items of a comma-separated list (a flag) or a YAML list."""
    items = value if isinstance(value, list) else str(value).split(",")
    texts = [str(item).strip() if isinstance(item, str | int) and not isinstance(item, bool) else "" for item in items]
    if not texts or "" in texts:
        raise UsageError(f"{key}: {_quoted(value)} has an empty or unreadable item; write for instance {example}")
    text, count = Counter(texts).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{key}: {text} is given twice in {_quoted(value)}")
    return texts


def _ranks(key: str, value: Any) -> tuple[int, ...]:
    ranks = sorted(_integer(1)(key, text) for text in _items(key, value))
    _items(key, list(ranks))  # 3 and 03 are the same rank
    return tuple(ranks)


def _bands(key: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Returns pairs of ranks. An unquoted 3:10 is the number 190 in YAML 1.1, which Ray's launcher reads."""
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
    components = [_choice(COMPONENTS)(key, text) for text in _items(key, value, "low,high")]
    return tuple(component for component in COMPONENTS if component in components)


def _splits(key: str, value: Any) -> tuple[str, ...]:
    return tuple(_items(key, value, "train,test"))


def _integer(least: int, most: int = _LARGEST) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", str(value)):
            raise UsageError(f"{key}: {_quoted(value)} is not a whole number")
        text = str(value)
        number = int(value) if len(text) < 19 else -most if text[0] == "-" else most + 1
        if number < least:
            raise UsageError(f"{key}: {text[:_LONGEST]} is too small, the least is {least}")
        if number > most:
            raise UsageError(f"{key}: {text[:_LONGEST]} is too large, the most is {most}")
        return number

    return parse


def _pixels_or(word: str) -> Callable[[str, Any], int | str]:
    def parse(key: str, value: Any) -> int | str:
        from pipeline.numerics.geometry import MAX_SIDE  # with NumPy and Pillow, which --help does not wait for

        if value == word:
            return word
        if not re.fullmatch(r"[+-]?[0-9]+", str(value)):
            raise UsageError(f"{key}: {_quoted(value)} is neither a number of pixels nor {word!r}")
        return _integer(2, MAX_SIDE)(key, value)

    return parse


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{key}: {_quoted(value)} is neither true nor false")
    return value


def _factors(key: str, value: Any) -> str | None:
    """Returns the floating-point type, or None for false. In a job file true means float32."""
    from pipeline.formats.factors import DTYPES  # with NumPy, which --help does not wait for

    if isinstance(value, bool):
        return "float32" if value else None
    return _choice(tuple(DTYPES))(key, value)


def _address(key: str, value: Any) -> str:
    text = _text(key, value)
    if "://" in text:
        raise UsageError(
            f"{key}: {_quoted(text)} is not of the form host:port; a build runs on a node of its cluster, where auto is "
            f"enough, and ray job submit takes it there from elsewhere"
        )
    if text not in ("auto", "local") and not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", text):
        raise UsageError(f"{key}: {_quoted(text)} is neither auto, local nor host:port, as in 10.0.0.1:6379")
    return text


def _log_json(key: str, value: Any) -> str | None:
    """Returns a file name or ``-`` for stderr, or None for false. In a job file true means stderr."""
    if isinstance(value, bool):
        return "-" if value else None
    return _text(key, value)


# The options by their headings in --help.
GROUPS: dict[str, tuple[Option, ...]] = {
    "what is cut": (
        Option(
            "dataset",
            _choice(DATASETS),
            "sample (default), cifar10, cifar100, imagenet, folder, webdataset, parquet or arrays",
            "NAME",
        ),
        Option("data-dir", _path, "folder of the data; without it CIFAR is downloaded once", "DIR"),
        Option("image-key", _text, "parquet: the column of images (default: the only one)", "KEY"),
        Option(
            "label-key",
            _text,
            "parquet: the column of labels (default: the only one); webdataset: the json field that holds the label "
            "(default: the cls member)",
            "KEY",
        ),
        Option(
            "classes",
            _path,
            "all but sample and CIFAR: imagenet for the official labels of its 1,000 classes, or a file of class "
            "names by label (text or json)",
            "FILE",
        ),
        Option("splits", _splits, "for example train,test (default: all)", "LIST"),
        Option("limit", _integer(1), "build only the first N output positions of each split", "N"),
    ),
    "how": (
        Option("ranks", _ranks, "for example 3,5,10,20: number of singular values that low-rank images keep", "LIST"),
        Option("bands", _bands, "for example 50:100: also images of the singular values 51 to 100 alone", "LIST"),
        Option(
            "radii",
            _ranks,
            "for example 4,8: also low-pass and high-pass images, cut at these radii of Fourier frequencies",
            "LIST",
        ),
        Option("components", _components, "of low, high, full (the untouched image); default low,high", "LIST"),
        Option(
            "resize",
            _pixels_or("native"),
            "pixels of the shorter side, or native; without --crop a square (default: 256 for imagenet, else native)",
            "N",
        ),
        Option("crop", _pixels_or("none"), "pixels of a centred square, or none (default: 224 for imagenet)", "N"),
        Option(
            "order",
            _choice(_ORDERS),
            "source or shuffled (default: shuffled if the source is sorted by class)",
            "ORDER",
        ),
        Option("seed", _integer(0), "seed of the shuffled order (default 0)", "N"),
        Option("samples-per-shard", _integer(1, 1_000_000), "default 1250 up to 64 pixels, else 1000", "N"),
        Option(
            "shards-divisible-by",
            _integer(1, 100_000),
            "make shards smaller, so that each split has a multiple of N shards (nodes x workers)",
            "N",
        ),
        Option(
            "factors",
            _factors,
            "also store U, S and V up to the largest rank, as float32 (default) or float16",
            "TYPE",
            bare="float32",
        ),
    ),
    "where to, and with what": (
        Option("out", _location, "folder, s3://bucket/prefix or gs://bucket/prefix (default out/<name>)", "DIR"),
        Option("name", _name, "name in the output's folders and files (default: the dataset's)", "NAME"),
        Option("device", _choice(DEVICES), "auto (default: GPUs if there are any), cpu or cuda", "NAME"),
        Option("gpus", _integer(1), "maximum number of GPUs (default: all that CUDA_VISIBLE_DEVICES shows)", "N"),
        Option(
            "workers",
            _integer(0),
            "number of processes (default: all usable cores, or 0 for a few seconds of work); 0: this process, without Ray",
            "N",
        ),
        Option("address", _address, "of a Ray cluster: auto or host:port (default: none, or the Ray job's)", "ADDR"),
        Option("max-rejects", _integer(0), "number of unreadable images that is no failure (default 0)", "N"),
        Option("stall", _integer(0, 86_400), "seconds without progress until a warning (default 120; 0: never)", "N"),
        Option(
            "log-json", _log_json, "write one JSON object per event to stderr, or append it to FILE", "FILE", bare="-"
        ),
    ),
    "switches": (
        Option("exact", _flag, "also write every cut as float32 .npy, neither rounded nor clipped"),
        Option(
            "allow-unverified", _flag, "build from files whose checksums are not the official ones; the output says so"
        ),
        Option("overwrite", _flag, "delete what an earlier build wrote to --out, and build again"),
        Option("recheck", _flag, "compare hashes, not only sizes, of what is already built"),
        Option("dry-run", _flag, "show shards, bytes and time; write nothing"),
        Option("quiet", _flag, "no progress, no summary"),
    ),
}
OPTIONS = {option.name: option for options in GROUPS.values() for option in options}
