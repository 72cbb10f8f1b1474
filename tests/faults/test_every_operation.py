"""Promise: at whichever single operation on the disk a build ends, the manifest never lies, and the same command completes.

Two shards, two variants, in one process; every operation in turn is the one at which the process dies, the disk is full
or fails, or the power is lost.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
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
    """A command, and the finished build that it finds, if any."""

    command: tuple[str, ...]
    before: tuple[str, ...] | None = None


CASES = {
    "a new build": Case((*_TINY, "--ranks", "3", "--limit", "8")),
    "growth of ranks and limit": Case(
        (*_TINY, "--ranks", "3,5", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "overwriting": Case(
        (*_TINY, "--ranks", "5", "--limit", "8", "--overwrite"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "nothing to do": Case((*_TINY, "--ranks", "3", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "8")),
}
FAULTS = (DEATH, FULL, EIO, POWER_KEPT, POWER_LOST, POWER_MIXED)


@pytest.fixture(scope="module")
def disk() -> Iterator[FailingDisk]:
    with FailingDisk() as disk:
        yield disk


def _runs() -> Iterator[object]:
    for case in CASES:
        for fault in FAULTS:
            short = 1 if (case, fault) == ("a new build", DEATH) else 19
            yield pytest.param(case, fault, short, id=f"{case}, {fault}, every {short}")
            if short > 1:
                yield pytest.param(case, fault, 1, id=f"{case}, {fault}, every 1", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "fault", "every"), list(_runs()))
def test_every_operation(case: str, fault: str, every: int, disk: FailingDisk, out: Path) -> None:
    command, before = CASES[case]
    found = out.with_name("found")
    if before is not None:
        assert disk.build(*before, out=found) == (0, "", disk.build(*before, out=out).operations)
        shutil.rmtree(out)
        shutil.copytree(found, out)
    undisturbed = disk.build(*command, out=out)
    assert undisturbed[:2] == (0, "")
    expected, records = hashes(out), _records(out)
    statuses: Counter[int] = Counter()
    for at in range(1, undisturbed.operations + 1, every):
        shutil.rmtree(out)
        if before is not None:
            shutil.copytree(found, out)
        result = disk.build(*command, out=out, fault=fault, at=at)
        statuses[result.status] += 1
        note = f"{fault} at operation {at}: {result}"
        _check_end(result, fault, note)
        assert_manifest_holds(out)
        _check_records(out, expected, records, note)
        if result.status == 0:
            assert hashes(out) == expected, note
        again = disk.build(*command, out=out)
        assert again[:2] == (0, ""), f"{note}, then {again}"
        assert hashes(out) == expected, note
        assert scratch(out) == [], note
    told = ", ".join(f"{count} ended with {status}" for status, count in sorted(statuses.items()))
    print(f"\n{case}, {fault}, every {every} of {undisturbed.operations} operations: {told}")


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


def _check_records(out: Path, expected: Files, records: dict[str, bytes], note: str) -> None:
    """A record that is in place proves its files."""
    found = hashes(out)
    for name, content in _records(out).items():
        if content == records.get(name):
            proven = [file for file in expected if expected[file] in content.decode()]
            assert all(found.get(file) == expected[file] for file in proven), (note, name)
            assert len(proven) >= 5, "two variants' tars and indexes, and the spectra"
