"""Promise: if a build ends at any operation on the disk, the manifest is not false, and the same command completes it.

Two shards, two variants, in one process; every operation in turn is the one at which the process dies, or the disk is full
or fails. The power fails in ``test_power.py``.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.builds import assert_manifest_holds, hashes, scratch
from tests.faults.cases import CASES, Whole, check_records, fresh_copy, make_before
from tests.faults.failing_disk import DIED, EIO, FULL, KILL, FailingDisk, Result

pytestmark = pytest.mark.fault

FAULTS = (KILL, FULL, EIO)
FIRST = 12  # operations that mark the folder as an output, all different: the short form takes all of them


def _runs() -> Iterator[object]:
    """The short form takes the first operations, every ninth operation for a killed new build, and a sample of the rest."""
    for case in CASES:
        for fault in FAULTS:
            every = 9 if (case, fault) == ("a new build", KILL) else 41
            yield pytest.param(case, fault, every, id=f"{case}, {fault}, every {every}")
            yield pytest.param(case, fault, 1, id=f"{case}, {fault}, every 1", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "fault", "every"), list(_runs()))
def test_every_operation(case: str, fault: str, every: int, disks: list[FailingDisk], place: Path) -> None:
    command, initial = CASES[case].command, place / "initial"
    make_before(CASES[case], initial, disks[0])
    out = fresh_copy(initial, place / "undisturbed")
    undisturbed = disks[0].build(*command, out=out)
    assert undisturbed[:2] == (0, "")
    whole = Whole.of(out)

    def some(number: int) -> Counter[int]:
        mine = [at for at in range(1, undisturbed.operations + 1) if at <= FIRST or at % every == 0][
            number :: len(disks)
        ]
        here = place / f"place{number}"
        return Counter(_survives(command, fault, at, disks[number], fresh_copy(initial, here), whole) for at in mine)

    with ThreadPoolExecutor() as pool:
        statuses = sum(pool.map(some, range(len(disks))), Counter[int]())
    text = ", ".join(f"{count} ended with {status}" for status, count in sorted(statuses.items()))
    print(f"\n{case}, {fault}, every {every} of {undisturbed.operations} operations: {text}")


def _survives(command: tuple[str, ...], fault: str, at: int, disk: FailingDisk, out: Path, whole: Whole) -> int:
    """Runs a build with the fault, then the same command, which must complete. Returns the exit status of the first."""
    result = disk.build(*command, out=out, fault=fault, at=at)
    note = f"{fault} at operation {at}: {result}"
    _check_end(result, fault, note)
    assert_manifest_holds(out)
    check_records(out, whole, note)
    if result.status == 0:
        assert hashes(out) == whole.files, note
    again = disk.build(*command, out=out)
    assert again[:2] == (0, ""), f"{note}, then {again}"
    assert hashes(out) == whole.files, note
    assert scratch(out) == [], note
    return result.status


def _check_end(result: Result, fault: str, note: str) -> None:
    """Checks that a killed build is silent, and that an error is one line and ends the build unless a retry succeeds."""
    if fault == KILL:
        assert result[:2] == (DIED, ""), note
        return
    *before, last = ["", *result.err.splitlines()]
    assert all(line.startswith("trying again: ") for line in before if line), note
    if result.status == 0:
        assert not last or last.startswith("trying again: "), note
    else:
        assert result.status == 1, note
        assert last.startswith("error: "), note
        assert ("No space left on device" if fault == FULL else "Input/output error") in last, note
