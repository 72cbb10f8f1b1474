"""Promise: after a power failure the next start sees nothing false, and the same command completes. Finished outputs stay.

Of a build's operations, every beginning in turn is what happened before; what was not synced is lost, kept, or torn.
"""

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.builds import assert_manifest_holds, hashes, scratch
from tests.faults.cases import CASES, Whole, check_records, fresh_copy, make_before
from tests.faults.crash import KEPT, LOST, MIXED, FileSystem, Tree, read_tree, write_tree
from tests.faults.failing_disk import FailingDisk
from tests.faults.mutants import MUTANTS
from tests.faults.operations import Operation

pytestmark = pytest.mark.fault


class Story(NamedTuple):
    """A build that succeeded: the initial folder, its operations on the disk, and its result."""

    command: tuple[str, ...]
    initial: Path
    operations: list[Operation]
    place: Path
    whole: Whole

    def states(self, how: str, every: int, first: int = 0) -> Iterator[tuple[int, Tree]]:
        """Yields states after power failures, with the number of operations before each. Always includes the last."""
        disk, last = FileSystem(self.initial, self.place), len(self.operations)
        for number, operation in enumerate(self.operations, 1):
            disk.do(operation)
            if (number - first) % every == 0 or (number == last and not first):
                yield number, disk.after(how, random.Random(f"{number} {every}"))


def traced(case: str, disk: FailingDisk, place: Path, mutant: str = "") -> Story:
    command, initial = CASES[case].command, place / "initial"
    make_before(CASES[case], initial, disk)
    out = fresh_copy(initial, place / "traced")
    result, operations = disk.trace(*command, out=out, mutant=mutant)
    assert result[:2] == (0, "")
    return Story(command, initial, operations, place / "traced", Whole.of(out))


def check_state(story: Story, note: str, number: int, out: Path) -> None:
    """Checks a state: no false manifest or record, and all files of a finished build."""
    assert_manifest_holds(out)
    check_records(out, story.whole, note)
    if number == len(story.operations):
        assert hashes(out) == story.whole.files, f"{note}, the build has ended well and yet something is lost"


def check(story: Story, how: str, number: int, state: Tree, disk: FailingDisk, place: Path) -> None:
    write_tree(state, place)
    out, note = place / "out", f"{how}, after {number} of {len(story.operations)} operations"
    check_state(story, note, number, out)
    again = disk.build(*story.command, out=out)
    assert again[:2] == (0, ""), f"{note}, then {again}"
    assert hashes(out) == story.whole.files, note
    assert scratch(out) == [], note


def _runs() -> Iterator[object]:
    for case in CASES:
        for how in (LOST, MIXED):
            every = 7 if case == "a new build" else 29
            yield pytest.param(case, how, every, id=f"{case}, {how}, every {every}")
        for how in (LOST, KEPT, MIXED):
            yield pytest.param(case, how, 1, id=f"{case}, {how}, every 1", marks=pytest.mark.full)


@pytest.mark.parametrize(("case", "how", "every"), list(_runs()))
def test_power_fails(case: str, how: str, every: int, disks: list[FailingDisk], place: Path) -> None:
    story = traced(case, disks[0], place)

    def some(number: int) -> int:
        mine = list(story.states(how, every * len(disks), every * number))
        for at, state in mine:
            check(story, how, at, state, disks[number], place / f"{number}-{at}")
        return len(mine)

    with ThreadPoolExecutor() as pool:
        count = sum(pool.map(some, range(len(disks))))
    print(f"\n{case}, {how}: {count} power failures in {len(story.operations)} operations")


@pytest.mark.parametrize("case", CASES)
def test_no_operation_escapes_the_record(case: str, disks: list[FailingDisk], place: Path) -> None:
    """The operations, applied to the initial folder, give exactly the files that the build left."""
    story = traced(case, disks[0], place)
    *_, (_, state) = story.states(KEPT, 10**9)
    assert state == read_tree(story.place)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant])
def test_a_program_that_errs_is_found_out(mutant: str, disks: list[FailingDisk], place: Path) -> None:
    """A program without one of the steps fails the other tests of this file."""
    story = traced("growth of ranks and limit", disks[0], place, mutant)
    states = [(how, number, state) for how in (LOST, KEPT, MIXED) for number, state in story.states(how, 1)]
    with pytest.raises(AssertionError):
        for _, number, state in states:  # the quick check first
            write_tree(state, place / "quick")
            check_state(story, "", number, place / "quick" / "out")
            shutil.rmtree(place / "quick")
        for how, number, state in reversed(states):
            check(story, how, number, state, disks[0], place / f"{how}-{number}")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 20))])
def test_power_fails_again_and_again(seed: int, disks: list[FailingDisk], place: Path) -> None:
    """Each failure hits the build that continues after the failure before."""
    chance = random.Random(seed)
    story = traced(chance.choice(list(CASES)), disks[0], place)
    for failure in range(6):
        number = chance.randrange(len(story.operations))
        disk = FileSystem(story.initial, story.place)
        for operation in story.operations[:number]:
            disk.do(operation)
        initial, now = place / f"initial-{failure}", place / f"traced-{failure}"
        write_tree(disk.after(MIXED, chance), initial)
        assert_manifest_holds(initial / "out")
        result, operations = disks[0].trace(*story.command, out=fresh_copy(initial, now))
        assert result[:2] == (0, ""), result
        assert hashes(now / "out") == story.whole.files
        story = story._replace(initial=initial, operations=operations, place=now)
