"""Promise: at whichever single operation on the disk a build ends, the manifest never lies, and the same command completes.

Two shards, two variants, in one process; every operation in turn is the one at which the process dies, the disk is full
or fails, or the power is lost.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.store import BUILD
from tests.faults.builds import Files, assert_manifest_holds, hashes, scratch
from tests.faults.failing_disk import (
    DEATH,
    DIED,
    EIO,
    FULL,
    POWER_KEPT,
    POWER_LOST,
    POWER_MIXED,
    FailingDisk,
    Result,
)

pytestmark = pytest.mark.fault

_TINY = ("--dataset", "sample", "--splits", "train", "--samples-per-shard", "4")


class Case(NamedTuple):
    """A command, and the finished build that it finds, if any; ``older``: one of a version that wrote another card."""

    command: tuple[str, ...]
    before: tuple[str, ...] | None = None
    older: bool = False


CASES = {
    "a new build": Case((*_TINY, "--ranks", "3", "--limit", "8")),
    "growth of ranks and limit": Case(
        (*_TINY, "--ranks", "3,5", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "overwriting": Case(
        (*_TINY, "--ranks", "5", "--limit", "8", "--overwrite"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "nothing to do": Case((*_TINY, "--ranks", "3", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "8")),
    "only to finish": Case(
        (*_TINY, "--ranks", "3", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "8"), older=True
    ),
}
FAULTS = (DEATH, FULL, EIO, POWER_KEPT, POWER_LOST, POWER_MIXED)


@pytest.fixture(scope="module")
def disks() -> Iterator[list[FailingDisk]]:
    """Two, for two cores."""
    with FailingDisk() as one, FailingDisk() as other:
        yield [one, other]


def _runs() -> Iterator[object]:
    """The short form takes every third operation of a new build's death, and of the rest a sample."""
    for case in CASES:
        for fault in FAULTS:
            if (case, fault) == ("a new build", DEATH):
                yield pytest.param(case, fault, 3, id=f"{case}, {fault}, every 3")
            elif case == "a new build" or fault in (DEATH, FULL, POWER_LOST):
                yield pytest.param(case, fault, 17, id=f"{case}, {fault}, every 17")
            yield pytest.param(case, fault, 1, id=f"{case}, {fault}, every 1", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "fault", "every"), list(_runs()))
def test_every_operation(case: str, fault: str, every: int, disks: list[FailingDisk], out: Path) -> None:
    command, before, older = CASES[case]
    found = out.with_name("found") if before else None
    if before and found:
        assert disks[0].build(*before, out=found)[:2] == (0, "")
        if older:
            _make_older(found)
        shutil.copytree(found, out)
    undisturbed = disks[0].build(*command, out=out)
    assert undisturbed[:2] == (0, "")
    whole = Whole(hashes(out), _records(out))

    def some(number: int) -> Counter[int]:
        mine = range(1 + every * number, undisturbed.operations + 1, every * len(disks))
        place = out.with_name(f"out{number}")
        return Counter(_survives(command, fault, at, disks[number], place, found, whole) for at in mine)

    with ThreadPoolExecutor() as pool:
        statuses = sum(pool.map(some, range(len(disks))), Counter[int]())
    told = ", ".join(f"{count} ended with {status}" for status, count in sorted(statuses.items()))
    print(f"\n{case}, {fault}, every {every} of {undisturbed.operations} operations: {told}")


def _make_older(out: Path) -> None:
    card, manifest = out / "README.md", out / "manifest.json"
    content = card.read_bytes() + b"As an older version put it.\n"
    card.write_bytes(content)
    described = json.loads(manifest.read_bytes())
    described["files"][card.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.write_text(json.dumps(described))


class Whole(NamedTuple):
    """What an undisturbed build leaves: the hashes of its files, and its shard records."""

    files: Files
    records: dict[str, bytes]


def _survives(
    command: tuple[str, ...], fault: str, at: int, disk: FailingDisk, out: Path, found: Path | None, whole: Whole
) -> int:
    """The exit status of a build that met the fault, after which the same command has completed."""
    shutil.rmtree(out, ignore_errors=True)
    if found:
        shutil.copytree(found, out)
    result = disk.build(*command, out=out, fault=fault, at=at)
    note = f"{fault} at operation {at}: {result}"
    _check_end(result, fault, note)
    assert_manifest_holds(out)
    _check_records(out, whole, note)
    if result.status == 0:
        assert hashes(out) == whole.files, note
    again = disk.build(*command, out=out)
    assert again[:2] == (0, ""), f"{note}, then {again}"
    assert hashes(out) == whole.files, note
    assert scratch(out) == [], note
    return result.status


def _check_end(result: Result, fault: str, note: str) -> None:
    """Death is silent; an error is one line, and ends the build unless another try helped."""
    if fault not in (EIO, FULL):
        assert result.status == DIED, note
        return
    *before, last = ["", *result.err.splitlines()]
    assert all(line.startswith("trying again: ") for line in before if line), note
    if result.status == 0:
        assert not last or last.startswith("trying again: "), note
    else:
        assert result.status == 1, note
        assert last.startswith("error: "), note
        assert ("No space left on device" if fault == FULL else "Input/output error") in last, note


def _records(out: Path) -> dict[str, bytes]:
    folder = out / BUILD / "records"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def _check_records(out: Path, whole: Whole, note: str) -> None:
    """A record that is in place proves its files."""
    here = hashes(out)
    for name, content in _records(out).items():
        if content == whole.records.get(name):
            proven = [file for file, digest in whole.files.items() if digest.encode() in content]
            assert all(here.get(file) == whole.files[file] for file in proven), (note, name)
            assert len(proven) >= 5, "two variants' tars and indexes, and the spectra"
