"""Promise: a killed repair loses nothing, and the next repair leaves no temporary files of either."""

from pathlib import Path

import pytest

from tests.faults.builds import assert_manifest_holds, hashes, scratch
from tests.faults.cases import CASES, fresh_copy
from tests.faults.failing_disk import DIED, KILL, FailingDisk

pytestmark = pytest.mark.fault

COMMAND = CASES["exact cuts and factors"].command
DAMAGED = ("sample-rank3/sample-rank3-train-000001.tar", "spectra.zarr/train/c.0.0.0", "README.md")


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.full)])
def test_a_repair_is_killed_at_any_operation(step: int, disks: list[FailingDisk], place: Path) -> None:
    initial = place / "initial"
    initial.mkdir()
    assert disks[0].build(*COMMAND, out=initial / "out")[:2] == (0, "")
    whole = hashes(initial / "out")
    for name in DAMAGED:
        content = (initial / "out" / name).read_bytes()
        (initial / "out" / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, err, operations = disks[0].repair(fresh_copy(initial, place / "now"))
    assert status == 0, err
    assert operations > 40
    last = range(operations - 12, operations + 1)  # what it removes at the end, when all files are repaired
    for at in sorted({*range(1, operations + 1, step), *last}):
        out = fresh_copy(initial, place / "now")
        assert disks[0].repair(out, KILL, at).status == DIED, at
        result = disks[0].repair(out)
        assert result.status == 0, (at, result)
        assert hashes(out) == whole, at
        assert_manifest_holds(out)
        assert scratch(out) == [], at
