"""Shard records: they say that a shard's files are complete, so that a resumed run keeps them.

A variant of a shard exists only with a valid record. The record is published after all files that it names.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.formats.sealed_json import seal, unseal
from pipeline.numerics.statistics import Statistics
from pipeline.planning.plan import Shard
from pipeline.storage.store import BUILD, PublishedFile, Reading

RECORDS = f"{BUILD}/records"
_COUNTS_END = 1 << 63  # of int64
_MAX_SIZE, _MAX_REJECT = 1 << 24, 1 << 13  # bytes of a record without rejects, and of the name and reason of a reject


class Reject(NamedTuple):
    """An entry whose content could not be decoded.

    Attributes:
        index: position in the source's order.
        position: output position.
        name: original name.
        size: bytes of the content.
    """

    split: str
    index: int  # type: ignore[assignment]  # as in Entry
    position: int
    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class VariantRecord:
    """One variant of a shard: its tar, the tar's index, counts and digest of its pixels, and the libraries' versions."""

    tar: PublishedFile
    index: PublishedFile
    statistics: Statistics
    pixel_digest: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Record:
    """One shard: its identity, the variants that are in place, and the rejected entries.

    Attributes:
        identity: ``Plan.identity`` of the shard.
        source: chained SHA-256 of the entries' bytes. They must be the same when the shard grows.
        samples: number of samples; with the rejects, the number of entries.
        pixels: of all samples, in one variant.
        converted: number of samples that were not 8-bit RGB, by their kind.
        factors: empty if the output stores none.
    """

    identity: str
    source: str
    samples: int
    pixels: int
    converted: dict[str, int]
    rejects: tuple[Reject, ...]
    spectra: tuple[PublishedFile, ...]
    variants: dict[str, VariantRecord] = field(default_factory=dict)
    factors: tuple[PublishedFile, ...] = ()

    def to_json(self) -> bytes:
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """Returns the record that ``to_json`` wrote. Raises ValueError for anything else."""
        try:
            raw = unseal(data)
            variants = {
                str(name): VariantRecord(
                    _file(v["tar"]),
                    _file(v["index"]),
                    _statistics(v["statistics"]),
                    _digest(v["pixel_digest"]),
                    {str(library): str(version) for library, version in v["versions"].items()},
                )
                for name, v in raw["variants"].items()
            }
            rejects = tuple(
                Reject(str(r[0]), _count(r[1]), _count(r[2]), str(r[3]), _count(r[4]), str(r[5]))
                for r in raw["rejects"]
            )
            spectra, factors = (tuple(_file(file) for file in raw[name]) for name in ("spectra", "factors"))
            converted = {str(kind): _count(count) for kind, count in raw["converted"].items()}
            samples, pixels = _count(raw["samples"]), _count(raw["pixels"])
            return cls(
                str(raw["identity"]),
                str(raw["source"]),
                samples,
                pixels,
                converted,
                rejects,
                spectra,
                variants,
                factors,
            )
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"not a shard record: {error}") from None


def record_name(shard: Shard) -> str:
    """Returns the name of a shard's record in the output."""
    return f"{RECORDS}/{shard.name}.json"


def _max_size(entries: int) -> int:
    """Returns the maximum bytes of a record of so many entries."""
    return _MAX_SIZE + entries * _MAX_REJECT


def all_rejects(store: Reading, samples_per_shard: int) -> list[Reject]:
    """Returns the rejects of every readable record, of any identity."""
    rejects: list[Reject] = []
    for name in store.names(RECORDS):
        with contextlib.suppress(ValueError):
            rejects += Record.from_json(store.read(f"{RECORDS}/{name}", _max_size(samples_per_shard)) or b"").rejects
    return rejects


def load(store: Reading, shard: Shard, identity: str) -> Record | None:
    """Returns the shard's record; None if it is missing, damaged, too large, or of another identity."""
    entries = shard.stop - shard.start
    try:
        data = store.read(record_name(shard), _max_size(entries))
        record = Record.from_json(data) if data is not None else None
    except ValueError:
        return None
    if record is None or record.identity != identity or record.samples + len(record.rejects) != entries:
        return None
    return record


def intact_part(store: Reading, record: Record, recheck: bool) -> Record | None:
    """Returns the record without the variants and factors whose files differ from it; None if its spectra do.

    Args:
        recheck: compare hashes, not only sizes.
    """
    if not _intact(store, record.spectra, recheck):
        return None
    variants = {name: v for name, v in record.variants.items() if _intact(store, (v.tar, v.index), recheck)}
    factors = record.factors if _intact(store, record.factors, recheck) else ()
    return replace(record, variants=variants, factors=factors)


def _intact(store: Reading, files: Iterable[PublishedFile], recheck: bool) -> bool:
    return all(
        store.size(file.name) == file.size and (not recheck or store.sha256(file.name) == file.sha256) for file in files
    )


def _file(raw: Any) -> PublishedFile:
    name, size, sha256 = raw
    if not (isinstance(name, str) and isinstance(sha256, str)):
        raise TypeError("a file is recorded by name, size and hash")
    return PublishedFile(name, _count(size), sha256)


def _digest(raw: Any) -> str:
    if not isinstance(raw, str) or not re.fullmatch("[0-9a-f]{32}", raw):
        raise TypeError("a pixel digest is 32 hexadecimal digits")
    return raw


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _COUNTS_END:
        raise TypeError("sizes, positions and counts are whole numbers")
    return value


def _statistics(raw: Any) -> Statistics:
    sums, squares = tuple(raw["sums"]), tuple(raw["squares"])
    statistics = Statistics(**(raw | {"sums": sums, "squares": squares}))
    counts = [getattr(statistics, name) for name in ("clipped", "ties", "degenerate", "deficient", "recomputed")]
    if not all(isinstance(n, int) for n in [*counts, *sums, *squares]) or (len(sums), len(squares)) != (3, 3):
        raise TypeError("statistics are whole numbers")
    return statistics
