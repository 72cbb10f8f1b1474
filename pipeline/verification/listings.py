"""What each shard must hold: the keys and labels of ``samples/<split>.jsonl``, less those of ``rejects.jsonl``."""

import hashlib
import io
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.sources.index import SourceIndex
from pipeline.verification.faults import Faults, counted, shown
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import REJECTS, Manifest, samples_file
from pipeline.verification.shards.files import SLACK, digest_of, open_own

MAX_LINE = 1 << 16  # bytes
MAX_LABEL = 1 << 31
_KILLS = "kills its worker"  # how the reason of a reject begins that nobody should try again
# A line as a builder writes nearly all of them, with nothing escaped: only others take a parser of JSON.
_PLAIN = re.compile(
    rb'\{"key": "([ !#-\[\]-~]+)-([0-9]{8}|[1-9][0-9]{8,14})", "label": (0|[1-9][0-9]{0,8}), "name": "([ !#-\[\]-~]*)"\}\n'
)


class Sample(NamedTuple):
    """One output position."""

    position: int
    key: str
    label: int


class _Line(NamedTuple):
    """One line.

    Attributes:
        number: the entry's place in the source's order, which its key carries.
        name: the entry's original name.
    """

    number: int
    label: int
    name: str


class _Reject(NamedTuple):
    """An output position without a sample: what its line says of it."""

    key: str
    name: str
    reason: str


class BadLine(Exception):
    """A line is not what a builder writes; the text says which line and why."""


@dataclass
class Listing:
    """One split's samples file: what a shard's proof takes of it.

    Attributes:
        indexes: int64, the entry of each output position in the source's order.
        labels: int64, of each output position.
        usable: the two are those of all output positions.
        intact: the lists of samples and of rejects are the files that the manifest claims.
        rejects: output positions without a sample.
        unreadable: those of them whose image could not be decoded, as is said; others killed whoever tried.
    """

    indexes: "array[int]" = field(default_factory=lambda: array("q"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    usable: bool = False
    intact: bool = True
    rejects: frozenset[int] = frozenset()
    unreadable: frozenset[int] = frozenset()


def read_listings(manifest: Manifest, source: SourceIndex | None, faults: Faults) -> dict[str, Listing]:
    """Go through every samples file once, line by line.

    Args:
        source: what the source holds, if it is at hand: every line must say the same.
        faults: lines that are wrong, keys that come twice, counts that differ. (Hashes are checked with all files'.)
    """
    rejects = _read_rejects(manifest, faults)
    listings, shuffled = {}, manifest.order == "shuffled"
    for split in manifest.splits:
        unreadable = (at for at, reject in rejects[split].items() if not reject.reason.startswith(_KILLS))
        listing = Listing(rejects=frozenset(rejects[split]), unreadable=frozenset(unreadable))
        try:
            listing.intact = all(_is_claimed(manifest, name) for name in (samples_file(split), REJECTS))
            before, last = b"", b""
            with _open(manifest, samples_file(split)) as file:
                for position, text in enumerate(_lines(file)):
                    line = _line(text, split, position)
                    if shuffled:
                        before, last = last, _rank(line.name, manifest.seed, position)
                    listing.indexes.append(line.number)
                    listing.labels.append(line.label)
                    in_place = before <= last if shuffled else line.number == position
                    _check(line, in_place, split, position, manifest, source, rejects[split].get(position), faults)
            _check_count(manifest, split, listing)
            if shuffled and source is not None:
                _check_first(listing, last, split, manifest.seed, source, faults)
            listing.usable = True
        except BadLine as error:
            faults.add(samples_file(split), f"{error}; its samples cannot be checked")
        except OSError:  # missing or unreadable, which the check of all files reports
            pass
        repeated = len(listing.indexes) - len(set(listing.indexes))
        if repeated:
            faults.add(samples_file(split), f"{counted(repeated, 'key')} more than once")
        listings[split] = listing
    return listings


def key_of(split: str, number: int) -> str:
    """The key of an entry."""
    return f"{split}-{number:08d}"


def _rank(name: str, seed: int, position: int) -> bytes:
    """What a shuffled split is sorted by."""
    try:
        return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    except UnicodeEncodeError:
        raise BadLine(f"line {position + 1} has a name that no file can have") from None


def _is_claimed(manifest: Manifest, name: str) -> bool:
    claim = manifest.files.get(name)
    if claim is None:
        return True
    path = manifest.root / name
    return path.lstat().st_size == claim.size and digest_of(path) == claim.sha256


def _open(manifest: Manifest, name: str) -> io.BufferedReader:
    """A list, read no further than it is claimed to go, or little further, to tell what is too much in it."""
    claim = manifest.files.get(name)
    return open_own(manifest.root / name, SLACK + (claim.size if claim else 0))


def _check_count(manifest: Manifest, split: str, listing: Listing) -> None:
    entries = manifest.splits[split].entries
    if len(listing.indexes) != entries:
        raise BadLine(f"{counted(len(listing.indexes), 'line')}, the manifest says {entries:,}")


def _check_first(listing: Listing, last: bytes, split: str, seed: int, source: SourceIndex, faults: Faults) -> None:
    """A limit takes the first entries of a shuffled order: none that is left out may come before the last one taken."""
    names = source.splits[split].names if split in source.splits else []
    if len(names) == len(listing.indexes):
        return
    taken = set(listing.indexes)
    for number, name in enumerate(names):
        if number not in taken and _rank(name, seed, number) < last:
            faults.add(
                samples_file(split), f"{key_of(split, number)}: left out, though it comes before others in the order"
            )


def _check(
    line: _Line,
    in_place: bool,
    split: str,
    position: int,
    manifest: Manifest,
    source: SourceIndex | None,
    rejected: _Reject | None,
    faults: Faults,
) -> None:
    if in_place and line.label < manifest.classes and rejected is None and source is None:
        return
    key = key_of(split, line.number)
    if line.label >= manifest.classes:
        faults.add(samples_file(split), f"{key}: label {line.label}, but there are {manifest.classes} classes")
    if not in_place:
        faults.add(samples_file(split), f"{key}: on line {position + 1}, which is not the order that the job says")
    if rejected is not None and rejected[:2] != (key, line.name):
        told = key if rejected.key != key else f"{key}, {shown(line.name)}"
        found = rejected.key if rejected.key != key else rejected.name
        faults.add(REJECTS, f"position {position} of {split} is {told}, not {shown(found)}")
    if source is not None:
        _check_entry(line, key, split, source, faults)


def _check_entry(line: _Line, key: str, split: str, source: SourceIndex, faults: Faults) -> None:
    index = source.splits.get(split)
    if index is None or line.number >= len(index):
        faults.add(samples_file(split), f"{key}: the source has no such entry")
    elif (index.names[line.number], int(index.labels[line.number])) != (line.name, line.label):
        was = f"{shown(index.names[line.number])}, label {index.labels[line.number]}"
        faults.add(samples_file(split), f"{key}: {shown(line.name)}, label {line.label}; in the source: {was}")


def _read_rejects(manifest: Manifest, faults: Faults) -> dict[str, dict[int, _Reject]]:
    """The rejected entries by split and position."""
    rejects: dict[str, dict[int, _Reject]] = {split: {} for split in manifest.splits}
    try:
        with _open(manifest, REJECTS) as file:
            for number, line in enumerate(_lines(file), 1):
                raw = _object(line, number)
                position, key = raw.get("position"), str(raw.get("key"))
                split = key.rpartition("-")[0]
                texts = all(isinstance(raw.get(field), str) for field in ("name", "reason"))
                if split not in rejects or type(position) is not int or not texts or len(raw) != 4:
                    raise BadLine(f"line {number} is no reject of this output")
                if not 0 <= position < manifest.splits[split].entries or position in rejects[split]:
                    raise BadLine(f"line {number}: position {position} is none of {split}, or comes twice")
                rejects[split][position] = _Reject(key, raw["name"], raw["reason"])
    except BadLine as error:
        faults.add(REJECTS, str(error))
    except OSError:
        return rejects  # reported with all files
    for split, found in rejects.items():
        if len(found) != manifest.splits[split].rejects:
            faults.add(
                REJECTS,
                f"{counted(len(found), 'reject')} of {split}, the manifest says {manifest.splits[split].rejects}",
            )
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
        raw = strict.parse(line)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise BadLine(f"line {number} is no JSON object")
    return raw


def _line(text: bytes, split: str, position: int) -> _Line:
    plain = _PLAIN.fullmatch(text)
    if plain and plain[1].decode() == split:
        return _Line(int(plain[2]), int(plain[3]), plain[4].decode())
    raw = _object(text, position + 1)
    key, label, name = raw.get("key"), raw.get("label"), raw.get("name")
    if not isinstance(key, str) or type(label) is not int or not 0 <= label <= MAX_LABEL or not isinstance(name, str):
        raise BadLine(f"line {position + 1} has no key, label and name")
    if len(raw) != 3:
        raise BadLine(f"line {position + 1} has more than key, label and name")
    digits = key.removeprefix(f"{split}-")
    if not (8 <= len(digits) <= 15 and digits.isascii() and digits.isdigit()) or key != key_of(split, int(digits)):
        raise BadLine(f"line {position + 1}: {shown(ascii(key))} is no key of {split}")
    return _Line(int(digits), label, name)
