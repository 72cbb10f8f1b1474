"""Reads which samples each shard must hold: keys and labels of ``samples/<split>.jsonl`` without ``rejects.jsonl``."""

import hashlib
import io
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.sources.index import SourceIndex
from pipeline.verification.faults import Faults, counted, printable
from pipeline.verification.files import SLACK, digest_of, open_own
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import REJECTS, Manifest, samples_file

MAX_LINE = 1 << 16  # bytes
MAX_LABEL = 1 << 31
_KILLS = "kills its worker"  # the reason of such a reject begins with this; it must not be decoded again
# The form of nearly all lines, with nothing escaped. Only other lines need the parser of JSON.
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
        number: the entry's place in the source's order, which is part of its key.
        name: the entry's original name.
    """

    number: int
    label: int
    name: str


class _Reject(NamedTuple):
    """The line of an output position without a sample."""

    key: str
    name: str
    reason: str


class BadLine(Exception):
    """A line is not what a builder writes; the text says which line and why."""


@dataclass
class Listing:
    """The list of samples of one split.

    Attributes:
        indexes: int64, the entry of each output position in the source's order.
        labels: int64, of each output position.
        usable: whether the two hold all output positions.
        intact: whether the lists of samples and of rejects are the files that the manifest claims.
        rejects: output positions without a sample.
        unreadable: those rejects that could not be decoded; the others killed the process that decoded them.
    """

    indexes: "array[int]" = field(default_factory=lambda: array("q"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    usable: bool = False
    intact: bool = True
    rejects: frozenset[int] = frozenset()
    unreadable: frozenset[int] = frozenset()


def read_listings(manifest: Manifest, source: SourceIndex | None, faults: Faults) -> dict[str, Listing]:
    """Returns the list of samples of every split, each read once, line by line.

    Args:
        source: the index of the source, if it is given: every line must agree with it.
        faults: receives wrong lines, repeated keys and wrong counts. (Hashes are compared with those of all files.)
    """
    rejects, complete = _read_rejects(manifest, faults)
    listings = {
        split: _SplitReader(manifest, split, rejects[split], source, faults).read() for split in manifest.splits
    }
    if not complete:  # tars and spectra would be blamed for what is wrong with the list of rejects
        for listing in listings.values():
            listing.usable = False
    return listings


class _SplitReader:
    """Reads the list of samples of one split, and compares it with the manifest, the rejects and the source."""

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        rejects: dict[int, "_Reject"],
        source: SourceIndex | None,
        faults: Faults,
    ) -> None:
        self._manifest, self._split, self._rejects, self._faults = manifest, split, rejects, faults
        self._sourced = source is not None
        self._index = source.splits.get(split) if source else None

    def read(self) -> Listing:
        unreadable = (at for at, reject in self._rejects.items() if not reject.reason.startswith(_KILLS))
        listing = Listing(rejects=frozenset(self._rejects), unreadable=frozenset(unreadable))
        try:
            listing.intact = all(_is_claimed(self._manifest, name) for name in (samples_file(self._split), REJECTS))
            self._read_lines(listing)
            listing.usable = True
        except BadLine as error:
            self._add(f"{error}; its samples cannot be checked")
        except OSError:  # missing or unreadable: reported with all files
            pass
        repeated = len(listing.indexes) - len(set(listing.indexes))
        if repeated:
            self._add(f"{counted(repeated, 'key')} more than once")
        return listing

    def _read_lines(self, listing: Listing) -> None:
        """Fills a listing. Raises BadLine and OSError."""
        manifest, before, last = self._manifest, b"", b""
        shuffled = manifest.order == "shuffled"
        with _open(manifest, samples_file(self._split)) as file:
            for position, text in enumerate(_lines(file)):
                line = _line(text, self._split, position)
                if shuffled:
                    before, last = last, _rank(line.name, manifest.seed, position)
                listing.indexes.append(line.number)
                listing.labels.append(line.label)
                in_place = before <= last if shuffled else line.number == position
                if self._sourced or not in_place or line.label >= manifest.classes or position in self._rejects:
                    self._check_line(line, in_place, position)
        entries = manifest.splits[self._split].entries
        if len(listing.indexes) != entries:
            raise BadLine(f"{counted(len(listing.indexes), 'line')}, the manifest says {entries:,}")
        if shuffled and self._sourced:
            self._check_first(listing, last)

    def _check_line(self, line: "_Line", in_place: bool, position: int) -> None:
        key, classes = key_of(self._split, line.number), self._manifest.classes
        if line.label >= classes:
            self._add(f"{key}: label {line.label}, but there are {classes} classes")
        if not in_place:
            self._add(f"{key}: on line {position + 1}, which is not the order that the job says")
        reject = self._rejects.get(position)
        if reject is not None and reject[:2] != (key, line.name):
            listed = key if reject.key != key else f"{key}, {printable(line.name)}"
            rejected = reject.key if reject.key != key else reject.name
            text = f"position {position} of {self._split} is {listed}, not {printable(rejected)}"
            self._faults.add(REJECTS, text)
        if self._sourced:
            self._check_entry(line, key)

    def _check_entry(self, line: "_Line", key: str) -> None:
        """Compares a line with the entry of the source."""
        index = self._index
        if index is None or line.number >= len(index):
            self._add(f"{key}: the source has no such entry")
        elif (index.names[line.number], int(index.labels[line.number])) != (line.name, line.label):
            entry = f"{printable(index.names[line.number])}, label {index.labels[line.number]}"
            self._add(f"{key}: {printable(line.name)}, label {line.label}; in the source: {entry}")

    def _check_first(self, listing: Listing, last: bytes) -> None:
        """A limit takes the first entries of a shuffled order: no entry left out may come before the last one taken."""
        names = self._index.names if self._index else []
        if len(names) == len(listing.indexes):
            return
        taken = set(listing.indexes)
        for number, name in enumerate(names):
            if number not in taken and _rank(name, self._manifest.seed, number) < last:
                self._add(f"{key_of(self._split, number)}: left out, though it comes before others in the order")

    def _add(self, text: str) -> None:
        self._faults.add(samples_file(self._split), text)


def key_of(split: str, number: int) -> str:
    """Returns the key of an entry."""
    return f"{split}-{number:08d}"


def _rank(name: str, seed: int, position: int) -> bytes:
    """Returns the value that a shuffled split is sorted by."""
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
    """Opens a list. It is read a little further than it is claimed to go, so that lines too many are reported."""
    claim = manifest.files.get(name)
    return open_own(manifest.root / name, SLACK + (claim.size if claim else 0))


def _read_rejects(manifest: Manifest, faults: Faults) -> tuple[dict[str, dict[int, _Reject]], bool]:
    """Returns the rejected entries by split and position, and whether they can be all that there are."""
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
        faults.add(REJECTS, f"{error}; the samples cannot be checked")
        return rejects, False
    except OSError:
        return rejects, False  # reported with all files
    complete = True
    for split, positions in rejects.items():
        claimed = manifest.splits[split].rejects
        if len(positions) != claimed:
            complete = False
            faults.add(REJECTS, f"{counted(len(positions), 'reject')} of {split}, the manifest says {claimed}")
    return rejects, complete


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
        raise BadLine(f"line {position + 1}: {printable(ascii(key))} is no key of {split}")
    return _Line(int(digits), label, name)
