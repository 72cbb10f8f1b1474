"""Shard records: the proof that a shard's files are complete, and what a resumed run keeps.

A shard variant without a valid record does not exist. The record is published after all files that it names.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.formats.sealed_json import seal, unseal
from pipeline.numerics.cut import Statistics
from pipeline.planning.plan import Shard
from pipeline.storage.store import BUILD, FileProof, Reading

RECORDS = f"{BUILD}/records"
_LARGEST = 1 << 63  # what NumPy takes
_MOST, _MOST_EACH = 1 << 24, 1 << 13  # bytes of a record: its variants, and the name and reason of each reject


class Reject(NamedTuple):
    """An entry whose content could not be decoded: split, index in the source's order, output position, original name,
    bytes, and the reason."""

    split: str
    index: int  # type: ignore[assignment]  # as in Entry
    position: int
    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class VariantProof:
    """One variant of a shard: its tar, the tar's index, what was counted, and the libraries that made it."""

    tar: FileProof
    index: FileProof
    statistics: Statistics
    versions: dict[str, str]


@dataclass(frozen=True)
class Record:
    """One shard: what it is, which variants of it are in place, and which entries it had to reject.

    Attributes:
        samples: with the number of rejects, the number of entries.
        pixels: of all samples, in one variant.
        source: SHA-256 over the entries' bytes, chained: what a shard that grows must still find.
        converted: samples that were not 8-bit RGB, by what they were.
        factors: empty where none are kept.
    """

    identity: str
    source: str
    samples: int
    pixels: int
    converted: dict[str, int]
    rejects: tuple[Reject, ...]
    spectra: tuple[FileProof, ...]
    variants: dict[str, VariantProof] = field(default_factory=dict)
    factors: tuple[FileProof, ...] = ()

    def to_json(self) -> bytes:
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """Raises ValueError where ``data`` is not exactly what ``to_json`` writes."""
        try:
            raw = unseal(data)
            variants = {
                str(name): VariantProof(
                    _proof(v["tar"]),
                    _proof(v["index"]),
                    _statistics(v["statistics"]),
                    {str(library): str(version) for library, version in v["versions"].items()},
                )
                for name, v in raw["variants"].items()
            }
            rejects = tuple(
                Reject(str(r[0]), _count(r[1]), _count(r[2]), str(r[3]), _count(r[4]), str(r[5]))
                for r in raw["rejects"]
            )
            spectra, factors = (tuple(_proof(proof) for proof in raw[name]) for name in ("spectra", "factors"))
            converted = {str(what): _count(count) for what, count in raw["converted"].items()}
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
    return f"{RECORDS}/{shard.name}.json"


def _most(entries: int) -> int:
    """Bytes above which no record of so many entries can be."""
    return _MOST + entries * _MOST_EACH


def all_rejects(store: Reading, samples_per_shard: int) -> list[Reject]:
    """Every reject of every readable record, whatever its identity."""
    rejects: list[Reject] = []
    for name in store.names(RECORDS):
        with contextlib.suppress(ValueError):
            rejects += Record.from_json(store.read(f"{RECORDS}/{name}", _most(samples_per_shard)) or b"").rejects
    return rejects


def load(store: Reading, shard: Shard, identity: str) -> Record | None:
    """The shard's record; None where there is none, or it is damaged, too large, or of another identity."""
    entries = shard.stop - shard.start
    try:
        data = store.read(record_name(shard), _most(entries))
        record = Record.from_json(data) if data is not None else None
    except ValueError:
        return None
    if record is None or record.identity != identity or record.samples + len(record.rejects) != entries:
        return None
    return record


def kept(store: Reading, record: Record, recheck: bool) -> Record | None:
    """The record less every variant (and the factors) whose files are not as recorded; None where nothing of it holds.

    Args:
        recheck: compare hashes, not only sizes.
    """
    if not _intact(store, record.spectra, recheck):
        return None
    variants = {name: v for name, v in record.variants.items() if _intact(store, (v.tar, v.index), recheck)}
    factors = record.factors if _intact(store, record.factors, recheck) else ()
    return replace(record, variants=variants, factors=factors)


def _intact(store: Reading, proofs: Iterable[FileProof], recheck: bool) -> bool:
    return all(
        store.size(proof.name) == proof.size and (not recheck or store.sha256(proof.name) == proof.sha256)
        for proof in proofs
    )


def _proof(raw: Any) -> FileProof:
    name, size, sha256 = raw
    if not (isinstance(name, str) and isinstance(sha256, str)):
        raise TypeError("a file proof is a name, a size and a hash")
    return FileProof(name, _count(size), sha256)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise TypeError("sizes, places and counts are whole numbers")
    return value


def _statistics(raw: Any) -> Statistics:
    sums, squares = tuple(raw["sums"]), tuple(raw["squares"])
    read = Statistics(**(raw | {"sums": sums, "squares": squares}))
    counts = [read.clipped, read.ties, read.degenerate, read.deficient, read.recomputed]
    if not all(isinstance(n, int) for n in [*counts, *sums, *squares]) or (len(sums), len(squares)) != (3, 3):
        raise TypeError("statistics are whole numbers")
    return read
