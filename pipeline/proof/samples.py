"""What each shard must hold: the keys and labels of ``samples/<split>.jsonl``, less those of ``rejects.jsonl``."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.proof.faults import Faults, counted, shown
from pipeline.proof.files import digest_of, open_regular
from pipeline.proof.manifest import REJECTS, Manifest, samples_file

MAX_LINE = 1 << 16  # bytes


class Sample(NamedTuple):
    """One output position.

    Attributes:
        index: the entry's place in the source's order, the number in the key.
        name: the entry's original name.
    """

    position: int
    key: str
    index: int
    label: int
    name: str


class BadLine(Exception):
    """A line is not what a builder writes; the text says which line and why."""


@dataclass
class Listing:
    """One split's samples file, in outline: enough to read any shard's part of it again.

    Attributes:
        offsets: where the first line of each shard begins, bytes; empty where the file cannot be used.
        intact: it is the file that the manifest claims.
        rejects: output positions without a sample.
    """

    path: Path
    split: str
    offsets: list[int] = field(default_factory=list)
    intact: bool = True
    rejects: frozenset[int] = frozenset()


def read_listings(manifest: Manifest, faults: Faults) -> dict[str, Listing]:
    """Go through every samples file once, line by line.

    Args:
        faults: lines that are wrong, keys that come twice, counts that differ. (Hashes are checked with all files'.)
    """
    rejects = _read_rejects(manifest, faults)
    return {split: _outline(manifest, split, rejects[split], faults) for split in manifest.splits}


def samples_of(listing: Listing, number: int, start: int, stop: int) -> list[Sample]:
    """The samples that a shard must hold, in order.

    Raises:
        BadLine, OSError: the file has changed since it was outlined.
    """
    with open_regular(listing.path) as file:
        file.seek(listing.offsets[number])
        lines = _lines(file)
        every = [_sample(next(lines, b""), listing.split, position) for position in range(start, stop)]
    return [sample for sample in every if sample.position not in listing.rejects]


def _outline(manifest: Manifest, split: str, rejects: dict[int, str], faults: Faults) -> Listing:
    name, counts = samples_file(split), manifest.splits[split]
    listing = Listing(manifest.root / name, split, rejects=frozenset(rejects))
    claim = manifest.files.get(name)
    indexes = array("q")
    try:
        listing.intact = claim is None or digest_of(listing.path) == claim.sha256
        with open_regular(listing.path) as file:
            at = 0
            for position, line in enumerate(_lines(file)):
                if position % manifest.samples_per_shard == 0 and position < counts.entries:
                    listing.offsets.append(at)
                at += len(line)
                sample = _sample(line, split, position)
                _check(sample, manifest, rejects.get(position), faults)
                indexes.append(sample.index)
    except BadLine as error:
        faults.add(name, f"{error}; the samples of {split} cannot be checked")
        listing.offsets = []
        return listing
    except OSError:  # missing or unreadable, which the check of all files reports
        listing.offsets = []
        return listing
    if len(indexes) != counts.entries:
        faults.add(name, f"{counted(len(indexes), 'line')}, the manifest says {counts.entries:,}; its samples cannot be checked")
        listing.offsets = []
    elif len(set(indexes)) != len(indexes):
        faults.add(name, f"{counted(len(indexes) - len(set(indexes)), 'key')} that it has already")
    return listing


def _check(sample: Sample, manifest: Manifest, rejected: str | None, faults: Faults) -> None:
    where = samples_file(sample.key.rpartition("-")[0])
    if sample.label >= manifest.classes:
        faults.add(where, f"{sample.key}: label {sample.label}, but classes number {manifest.classes}")
    if manifest.order == "source" and sample.index != sample.position:
        faults.add(where, f"{sample.key} stands on line {sample.position + 1}, not in the source's order")
    if rejected is not None and rejected != sample.key:
        faults.add(REJECTS, f"position {sample.position} is {sample.key}, not {shown(rejected)}")


def _read_rejects(manifest: Manifest, faults: Faults) -> dict[str, dict[int, str]]:
    """Keys of the rejected entries by split and position."""
    rejects: dict[str, dict[int, str]] = {split: {} for split in manifest.splits}
    try:
        with open_regular(manifest.root / REJECTS) as file:
            for number, line in enumerate(_lines(file), 1):
                raw = _object(line, number)
                position, key = raw.get("position"), raw.get("key")
                split = key.rpartition("-")[0] if isinstance(key, str) else ""
                if split not in rejects or type(position) is not int or not isinstance(raw.get("reason"), str):
                    raise BadLine(f"line {number} is no reject of this output")
                if not 0 <= position < manifest.splits[split].entries or position in rejects[split]:
                    raise BadLine(f"line {number}: position {position} is none of {split}, or comes twice")
                rejects[split][position] = key
    except BadLine as error:
        faults.add(REJECTS, str(error))
    except OSError:
        return rejects  # reported with all files
    for split, found in rejects.items():
        if len(found) != manifest.splits[split].rejects:
            faults.add(REJECTS, f"{counted(len(found), 'reject')} of {split}, the manifest says {manifest.splits[split].rejects}")
    return rejects


def _lines(file: Any) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if not line.endswith(b"\n"):
            raise BadLine(f"line {number} is cut off" if len(line) < MAX_LINE else f"line {number} is too long")
        yield line


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise BadLine(f"line {number} is no JSON object")
    return raw


def _sample(line: bytes, split: str, position: int) -> Sample:
    raw = _object(line, position + 1)
    key, label, name = raw.get("key"), raw.get("label"), raw.get("name")
    if not isinstance(key, str) or type(label) is not int or label < 0 or not isinstance(name, str):
        raise BadLine(f"line {position + 1} has no key, label and name")
    digits = key.removeprefix(f"{split}-")
    if not (8 <= len(digits) <= 15 and digits.isascii() and digits.isdigit()) or key != f"{split}-{int(digits):08d}":
        raise BadLine(f"line {position + 1}: {shown(ascii(key))} is no key of {split}")
    return Sample(position, key, int(digits), label, name)
