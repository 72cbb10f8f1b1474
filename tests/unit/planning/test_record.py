"""Promises of shard records: what is written is read again, everything else is refused, and only intact files are kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.formats.sealed_json import seal, unseal
from pipeline.numerics.statistics import Statistics
from pipeline.planning import record
from pipeline.planning.plan import Shard
from pipeline.planning.record import Record, Reject, VariantRecord
from pipeline.storage.store import PublishedFile, Store, open_store

SHARD = Shard("train", 3, 100, 107)
REJECT = Reject("train", 41, 102, "a/b.png", 1234, "truncated")
RECORD = Record(
    identity="identity",
    source="source",
    samples=6,
    pixels=6144,
    converted={"grey": 2, "palette": 1},
    rejects=(REJECT,),
    spectra=(PublishedFile("spectra.zarr/train/c/3", 10, "0a"), PublishedFile("spectra.zarr/train/c/4", 11, "0b")),
    variants={
        "rank3": VariantRecord(
            PublishedFile("d-rank3/d-rank3-train-000003.tar", 20, "1a"),
            PublishedFile("d-rank3/d-rank3-train-000003.idx", 21, "1b"),
            Statistics(1, 2, 3, 4, 5, (6, 7, 8), (9, 10, 11)),
            "0123456789abcdef" * 2,
            {"numpy": "2.4.6", "pillow": "13.0.0"},
        ),
        "full": VariantRecord(
            PublishedFile("d-full/d-full-train-000003.tar", 22, "1c"),
            PublishedFile("d-full/d-full-train-000003.idx", 23, "1d"),
            Statistics(),
            "f" * 32,
            {},
        ),
    },
    factors=(PublishedFile("factors.zarr/train/u/c/3", 30, "2a"),),
)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Returns the record as JSON with a valid checksum, after a change."""
    document = unseal(RECORD.to_json())
    change(document)
    return seal(document)


def test_what_is_written_is_read_again() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD
    largest = replace(RECORD, pixels=2**63 - 1, samples=0)
    assert Record.from_json(largest.to_json()) == largest


COUNTS: dict[str, Callable[[dict[str, Any], Any], object]] = {
    "samples": lambda d, value: d.update(samples=value),
    "pixels": lambda d, value: d.update(pixels=value),
    "converted": lambda d, value: d["converted"].update(grey=value),
    "index of a reject": lambda d, value: d["rejects"][0].__setitem__(1, value),
    "position of a reject": lambda d, value: d["rejects"][0].__setitem__(2, value),
    "size of a reject": lambda d, value: d["rejects"][0].__setitem__(4, value),
    "size of a tar": lambda d, value: d["variants"]["rank3"]["tar"].__setitem__(1, value),
    "size of an index": lambda d, value: d["variants"]["rank3"]["index"].__setitem__(1, value),
    "size of spectra": lambda d, value: d["spectra"][1].__setitem__(1, value),
    "size of factors": lambda d, value: d["factors"][0].__setitem__(1, value),
}


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, True, "1", None])
@pytest.mark.parametrize("count", COUNTS)
def test_counts_are_whole_numbers(count: str, value: object) -> None:
    with pytest.raises(ValueError, match="not a shard record: sizes, positions and counts are whole numbers"):
        Record.from_json(changed(lambda d: COUNTS[count](d, value)))


@pytest.mark.parametrize("count", COUNTS)
def test_counts_may_be_zero(count: str) -> None:
    Record.from_json(changed(lambda d: COUNTS[count](d, 0)))


VARIANT = ("tar", "index", "statistics", "pixel_digest", "versions")


def without(key: str, *folder: str) -> Callable[[dict[str, Any]], object]:
    """Returns a change that removes a key of the document, or of one inside it."""

    def change(document: dict[str, Any]) -> None:
        for name in folder:
            document = document[name]
        del document[key]

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": without(key) for key in unseal(RECORD.to_json())},
    **{f"no {key} of a variant": without(key, "variants", "rank3") for key in VARIANT},
    **{f"no {key} in statistics": without(key, "variants", "rank3", "statistics") for key in ("sums", "squares")},
    "a sum is a float": lambda d: d["variants"]["rank3"]["statistics"].update(sums=[1, 2, 3.5]),
    "a square is a float": lambda d: d["variants"]["rank3"]["statistics"].update(squares=[1, 2, 3.5]),
    "a count is a float": lambda d: d["variants"]["rank3"]["statistics"].update(clipped=1.5),
    "the last count is a float": lambda d: d["variants"]["rank3"]["statistics"].update(recomputed=1.5),
    "two sums": lambda d: d["variants"]["rank3"]["statistics"].update(sums=[1, 2]),
    "four squares": lambda d: d["variants"]["rank3"]["statistics"].update(squares=[1, 2, 3, 4]),
    "an unknown count": lambda d: d["variants"]["rank3"]["statistics"].update(other=1),
    "a short digest": lambda d: d["variants"]["rank3"].update(pixel_digest="0" * 31),
    "a long digest": lambda d: d["variants"]["rank3"].update(pixel_digest="0" * 33),
    "a digest in capitals": lambda d: d["variants"]["rank3"].update(pixel_digest="F" * 32),
    "a digest that is a number": lambda d: d["variants"]["rank3"].update(pixel_digest=7),
    "a name that is a number": lambda d: d["spectra"][0].__setitem__(0, 7),
    "a hash that is a number": lambda d: d["spectra"][0].__setitem__(2, 7),
    "a file of two fields": lambda d: d["spectra"][0].pop(),
    "a short reject": lambda d: d["rejects"][0].pop(),
    "versions are a list": lambda d: d["variants"]["rank3"].update(versions=["numpy"]),
    "variants are a list": lambda d: d.update(variants=[]),
    "converted is a list": lambda d: d.update(converted=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_is_refused(change: str) -> None:
    with pytest.raises(ValueError):
        Record.from_json(changed(CHANGES[change]))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", RECORD.to_json()[:-2], RECORD.to_json().replace(b"6144", b"6145")]
)
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Record.from_json(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "out")
    store.make_root()
    return store


def write(store: Store, name: str, data: bytes) -> None:
    path = Path(store.location) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_record_is_loaded_by_the_name_of_its_shard(store: Store) -> None:
    assert record.load(store, SHARD, "identity") is None
    write(store, ".build/records/train-000003.json", RECORD.to_json())
    assert record.load(store, SHARD, "identity") == RECORD
    assert record.record_name(SHARD) == ".build/records/train-000003.json"


@pytest.mark.parametrize(
    ("shard", "identity"),
    [(SHARD, "another"), (replace(SHARD, stop=108), "identity"), (replace(SHARD, stop=106), "identity")],
)
def test_a_record_of_something_else_is_not_loaded(store: Store, shard: Shard, identity: str) -> None:
    write(store, record.record_name(shard), RECORD.to_json())
    assert record.load(store, shard, identity) is None


def test_a_damaged_or_huge_record_is_not_loaded(store: Store) -> None:
    write(store, record.record_name(SHARD), RECORD.to_json()[:-3])
    assert record.load(store, SHARD, "identity") is None
    space = b" " * (record._MAX_SIZE + 7 * record._MAX_REJECT - len(RECORD.to_json()))
    write(store, record.record_name(SHARD), RECORD.to_json() + space)
    assert record.load(store, SHARD, "identity") == RECORD
    write(store, record.record_name(SHARD), RECORD.to_json() + space + b" ")
    assert record.load(store, SHARD, "identity") is None


def test_all_rejects_are_those_of_readable_records(store: Store) -> None:
    assert record.all_rejects(store, 7) == []
    other = replace(RECORD, identity="older", rejects=(REJECT._replace(index=7), REJECT._replace(index=8)))
    write(store, ".build/records/test-000000.json", other.to_json())
    write(store, ".build/records/train-000001.json", b"damaged")
    write(store, ".build/records/train-000003.json", RECORD.to_json())
    assert sorted(reject.index for reject in record.all_rejects(store, 7)) == [7, 8, 41]
    write(
        store, ".build/records/train-000004.json", other.to_json() + b" " * (record._MAX_SIZE + 8 * record._MAX_REJECT)
    )
    assert len(record.all_rejects(store, 7)) == 3


@pytest.fixture
def built(store: Store) -> Record:
    """Returns a record whose files are in the store, with their true sizes and hashes."""

    def file(name: str, data: bytes) -> PublishedFile:
        write(store, name, data)
        return PublishedFile(name, len(data), store.sha256(name))

    return replace(
        RECORD,
        spectra=tuple(file(f.name, b"spectra") for f in RECORD.spectra),
        factors=tuple(file(f.name, b"factors") for f in RECORD.factors),
        variants={
            name: replace(v, tar=file(v.tar.name, b"tar"), index=file(v.index.name, b"index"))
            for name, v in RECORD.variants.items()
        },
    )


@pytest.mark.parametrize("recheck", [False, True])
def test_intact_files_are_kept(store: Store, built: Record, recheck: bool) -> None:
    assert record.intact_part(store, built, recheck) == built


@pytest.mark.parametrize(("content", "found_by"), [(None, "size"), (b"longer than before", "size"), (b"xar", "hash")])
@pytest.mark.parametrize("recheck", [False, True])
def test_a_variant_with_a_changed_file_is_left_out(
    store: Store, built: Record, content: bytes | None, found_by: str, recheck: bool
) -> None:
    if content is None:
        store.delete(built.variants["rank3"].tar.name)
    else:
        write(store, built.variants["rank3"].tar.name, content)
    part = record.intact_part(store, built, recheck)
    assert part is not None
    assert [*part.variants] == (["full"] if recheck or found_by == "size" else ["rank3", "full"])
    assert (part.spectra, part.factors) == (built.spectra, built.factors)


@pytest.mark.parametrize("recheck", [False, True])
def test_changed_indexes_factors_and_spectra_are_noticed(store: Store, built: Record, recheck: bool) -> None:
    write(store, built.variants["full"].index.name, b"")
    write(store, built.factors[0].name, b"")
    part = record.intact_part(store, built, recheck)
    assert part is not None
    assert ([*part.variants], part.factors) == (["rank3"], ())
    write(store, built.spectra[1].name, b"")
    assert record.intact_part(store, built, recheck) is None
