"""Promise: a record that is damaged, or of another shard or identity, is ignored, and its shard is built again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.formats.sealed_json import seal, unseal
from pipeline.storage.store import BUILD
from tests.faults.builds import Files, hashes, scratch
from tests.faults.failing_disk import FailingDisk

pytestmark = pytest.mark.fault

TINY = ("--dataset", "sample", "--splits", "train", "--samples-per-shard", "4", "--ranks", "3", "--limit", "8")
FIRST, SECOND = "train-000000.json", "train-000001.json"


@pytest.fixture
def disk(disks: list[FailingDisk]) -> FailingDisk:
    return disks[0]


@pytest.fixture
def finished(disk: FailingDisk, out: Path) -> Files:
    """Returns the hashes of a finished build in ``out``."""
    assert disk.build(*TINY, out=out)[:2] == (0, "")
    return hashes(out)


def edited(edit: Callable[[Any], object]) -> Callable[[bytes, bytes], bytes]:
    def change(first: bytes, second: bytes) -> bytes:
        record = unseal(first)
        edit(record)
        return seal(record)

    return change


def by_hand(keep: bool) -> Callable[[bytes, bytes], bytes]:
    """A plausible count that was edited without its checksum, or whose checksum was removed."""

    def change(first: bytes, second: bytes) -> bytes:
        record = json.loads(first)
        low(record)["statistics"]["clipped"] = 10**15
        if not keep:
            del record["checksum"]
        return json.dumps(record).encode()

    return change


def low(record: Any) -> Any:
    return record["variants"]["rank3"]


BYTES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "empty": lambda first, second: b"",
    "cut in half": lambda first, second: first[: len(first) // 2],
    "cut by one byte": lambda first, second: first[:-1],
    "zeros": lambda first, second: bytes(len(first)),
    "a list": lambda first, second: b"[]",
    "nested without end": lambda first, second: b"[" * 100_000,
    "not UTF-8": lambda first, second: b"\xff" + first,
    "another count": by_hand(keep=True),
    "another count and no checksum": by_hand(keep=False),
    "another shard's": lambda first, second: second,
}
EDITS: dict[str, Callable[[Any], object]] = {
    "another identity": lambda r: r.update(identity="0" * 64),
    "no identity": lambda r: r.pop("identity"),
    "fewer samples": lambda r: r.update(samples=3),
    "no number": lambda r: r.update(samples="many"),
    "no variants": lambda r: r["variants"].clear(),
    "one variant": lambda r: r["variants"].pop("highrank3"),
    "variants as a list": lambda r: r.update(variants=[]),
    "no spectra": lambda r: r.update(spectra=[]),
    "another size": lambda r: low(r)["tar"].__setitem__(1, 1),
    "size as text": lambda r: low(r)["tar"].__setitem__(1, str(low(r)["tar"][1])),
    "size as a fraction": lambda r: low(r)["tar"].__setitem__(1, float(low(r)["tar"][1])),
    "another name": lambda r: low(r)["tar"].__setitem__(0, "sample-rank3/lost.tar"),
    "the other variant's tar": lambda r: low(r).update(tar=r["variants"]["highrank3"]["tar"]),
    "a name outside": lambda r: low(r)["tar"].__setitem__(0, "../../../etc/hostname"),
    "a folder's name": lambda r: low(r)["tar"].__setitem__(0, "sample-rank3"),
    "a zero byte in a name": lambda r: low(r)["tar"].__setitem__(0, "a\0b"),
    "a surrogate in a name": lambda r: low(r)["tar"].__setitem__(0, "a\ud800b"),
    "a name as long as a book": lambda r: low(r)["tar"].__setitem__(0, "a" * 100_000),
    "short statistics": lambda r: low(r).update(statistics=[1, 2]),
    "no statistics": lambda r: low(r).pop("statistics"),
    "text in place of a record": lambda r: r.update(variants={"rank3": "text"}),
}
RECORDS = BYTES | {name: edited(edit) for name, edit in EDITS.items()}


@pytest.mark.parametrize(
    "manifest", [pytest.param(True, id="finished"), pytest.param(False, id="unfinished", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("damage", RECORDS)
def test_damaged_record_proves_nothing(
    damage: str, manifest: bool, finished: Files, disk: FailingDisk, out: Path
) -> None:
    records = out / BUILD / "records"
    first, second = (records / FIRST).read_bytes(), (records / SECOND).read_bytes()
    (records / FIRST).write_bytes(RECORDS[damage](first, second))
    if not manifest:
        (out / "manifest.json").unlink()
    assert disk.build(*TINY, out=out)[:2] == (0, "")
    assert hashes(out) == finished
    assert json.loads((records / FIRST).read_bytes()) == json.loads(first)
    assert scratch(out) == []


def test_wrong_hash_in_a_record_is_found_by_recheck(finished: Files, disk: FailingDisk, out: Path) -> None:
    record = out / BUILD / "records" / FIRST
    content = record.read_bytes()
    tar = "sample-rank3/sample-rank3-train-000000.tar"
    record.write_bytes(seal(json.loads(json.dumps(unseal(content)).replace(finished[tar], "0" * 64))))
    assert record.read_bytes() != content
    assert disk.build(*TINY, "--recheck", out=out)[:2] == (0, "")
    assert hashes(out) == finished
    assert json.loads(record.read_bytes()) == json.loads(content)


def test_record_that_is_a_folder_is_no_traceback(finished: Files, disk: FailingDisk, out: Path) -> None:
    record = out / BUILD / "records" / FIRST
    record.unlink()
    record.mkdir()
    result = disk.build(*TINY, out=out)
    assert result.status == 1
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("change", ["lost", "cut", "longer", "flipped"])
def test_changed_file_is_made_again(change: str, finished: Files, disk: FailingDisk, out: Path) -> None:
    """Each file in turn: a missing file or another size is always noticed, other bytes with ``--recheck``."""
    command = (*TINY, "--recheck") if change == "flipped" else TINY
    for name in finished:
        path = out / name
        content = path.read_bytes()
        if change == "lost":
            path.unlink()
        elif change == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif change == "longer":
            path.write_bytes(content + b"\0")
        elif content:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        result = disk.build(*command, out=out)
        assert result[:2] == (0, ""), (name, result)
        assert hashes(out) == finished, name


def test_lost_folder_is_made_again(finished: Files, disk: FailingDisk, out: Path) -> None:
    for name in ("sample-rank3", "spectra.zarr", "samples", f"{BUILD}/records", f"{BUILD}/tmp"):
        shutil.rmtree(out / name)
        assert disk.build(*TINY, out=out)[:2] == (0, ""), name
        assert hashes(out) == finished, name


def test_lost_records_and_description_are_reported(finished: Files, disk: FailingDisk, out: Path) -> None:
    shutil.rmtree(out / BUILD)
    result = disk.build(*TINY, out=out)
    assert result[:2] == (
        1,
        "error: the output's .build/job.json is missing, so no job can continue it; --overwrite builds it again\n",
    )
    assert disk.build(*TINY, "--overwrite", out=out)[:2] == (0, "")
    assert hashes(out) == finished


def test_a_lost_description_of_an_unfinished_output_is_reported(finished: Files, disk: FailingDisk, out: Path) -> None:
    (out / "manifest.json").unlink()
    (out / BUILD / "job.json").unlink()
    before = hashes(out)
    result = disk.build(*TINY, out=out)
    assert result.status == 1
    assert result.err == (
        "error: the output's .build/job.json is missing, so no job can continue it; --overwrite builds it again\n"
    )
    assert hashes(out) == before
    assert disk.build(*TINY, "--overwrite", out=out)[:2] == (0, "")
    assert hashes(out) == finished


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fixed": []}', b"\xff"])
def test_damaged_description_is_refused_in_one_line(
    content: bytes, finished: Files, disk: FailingDisk, out: Path
) -> None:
    (out / BUILD / "job.json").write_bytes(content)
    result = disk.build(*TINY, out=out)
    assert result.status == 1
    assert result.err == "error: the output's description .build/job.json is damaged; --overwrite builds it again\n"
    assert hashes(out) == finished
    assert disk.build(*TINY, "--overwrite", out=out)[:2] == (0, "")
    assert hashes(out) == finished
