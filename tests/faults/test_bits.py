"""Promise: if files of ``.build`` are damaged, the same command ends with the right bytes or refuses in one line."""

import json
import random
import shutil
from pathlib import Path

import pytest

from pipeline.formats.sealed_json import seal, unseal
from pipeline.storage.store import BUILD
from tests.faults.builds import Files, assert_manifest_holds, hashes
from tests.faults.cases import CASES, fresh_copy
from tests.faults.failing_disk import DIED, KILL, FailingDisk

pytestmark = pytest.mark.fault

COMMAND = CASES["a new build"].command
DAMAGED = "error: the output's description .build/job.json is damaged; --overwrite builds it again\n"
MID_BUILD = 90  # operations: one of two shards is committed


@pytest.fixture(params=["finished", "killed"])
def finished(request: pytest.FixtureRequest, disks: list[FailingDisk], place: Path) -> tuple[Path, Files]:
    """Returns a folder with an output, and the hashes of the finished output."""
    folder = place / "initial"
    folder.mkdir()
    assert disks[0].build(*COMMAND, out=folder / "out")[:2] == (0, "")
    whole = hashes(folder / "out")
    if request.param == "killed":
        shutil.rmtree(folder / "out")
        assert disks[0].build(*COMMAND, out=folder / "out", fault=KILL, at=MID_BUILD)[:2] == (DIED, "")
        assert (folder / "out" / BUILD / "lock").exists()
    return folder, whole


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


@pytest.mark.parametrize("times", [3, pytest.param(150, marks=pytest.mark.full)])
@pytest.mark.parametrize("damage", [flip, cut])
def test_every_file_of_a_build_is_damaged(
    damage, times: int, finished: tuple[Path, Files], disks: list[FailingDisk], place: Path
) -> None:
    folder, whole = finished
    chance = random.Random(times)
    names = [path.relative_to(folder) for path in sorted((folder / "out" / BUILD).rglob("*")) if path.is_file()]
    names = [name for name in names if (folder / name).stat().st_size]
    assert {"job.json", "runs.jsonl", "train-000000.json"} <= {name.name for name in names}
    refused = 0
    for name in names:
        for _ in range(times):
            out = fresh_copy(folder, place / "now")
            content = damage((folder / name).read_bytes(), chance)
            (place / "now" / name).write_bytes(content)
            result = disks[0].build(*COMMAND, out=out)
            note = f"{name}: {content!r}, then {result}"
            assert_manifest_holds(out)
            if result[:2] == (1, DAMAGED):
                assert name.name == "job.json", note
                refused += 1
                result = disks[0].build(*COMMAND, "--overwrite", out=out)
            assert result.status == 0, note
            # A lock whose host has another name may belong to a living run there.
            assert not result.err or (name.name == "lock" and "waiting 15 s" in result.err), note
            assert hashes(out) == whole, note
    print(f"\n{len(names)} files, {times} times {damage.__name__}: {refused} refused, all others ended right")


def test_documents_without_a_checksum_are_as_good_as_none(disks: list[FailingDisk], out: Path) -> None:
    """The shard of such a record is built again; such a job.json is refused."""
    assert disks[0].build(*COMMAND, out=out)[:2] == (0, "")
    whole = hashes(out)
    for path in (out / BUILD / "records").iterdir():
        path.write_text(json.dumps(unseal(path.read_bytes())))
    before = {path: path.stat().st_ino for path in out.rglob("*.tar")}
    assert disks[0].build(*COMMAND, out=out)[:2] == (0, "")
    after = {path: path.stat().st_ino for path in out.rglob("*.tar")}
    assert hashes(out) == whole and not before.items() & after.items()
    state = out / BUILD / "job.json"
    state.write_text(json.dumps(unseal(state.read_bytes())))
    assert disks[0].build(*COMMAND, out=out)[:2] == (1, DAMAGED)
    assert disks[0].build(*COMMAND, "--overwrite", out=out)[:2] == (0, "")
    assert hashes(out) == whole


def test_a_seal_is_of_what_a_document_says() -> None:
    document = {"a": [1, 2.5, None], "b": {"c": "\ud800é"}}
    assert unseal(seal(document)) == document == unseal(seal(document, indent=1))
    for edited in (b'"a": [2', b'"a": [1.0'):
        with pytest.raises(ValueError, match="checksum"):
            unseal(seal(document).replace(b'"a": [1', edited))
    with pytest.raises(ValueError, match="deeply"):
        unseal(b"[" * 100_000)
    for other in (b"[]", b"1", b"{}", b'{"a": 1}', b'{"a": 1, "checksum": null}'):
        with pytest.raises(ValueError, match="missing"):
            unseal(other)
