"""Promises of claims on an output, step by step. In ``test_object_lock.py`` and ``tests/faults`` runs compete."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.storage import file_claims, files, lock
from pipeline.storage.bucket import Bucket
from pipeline.storage.file_claims import FileClaims
from pipeline.storage.lock import BuildLock, Claim, Claims, LostLock, Taken, publishing
from pipeline.storage.object_claims import ObjectClaims

OWNER = {"run": "mine", "host": "here", "pid": 7, "time": "then", "beats": 3, "released": False}


@pytest.fixture(params=["local", "s3"])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    if request.param == "local":
        return FileClaims(tmp_path)
    return ObjectClaims(Bucket(request.getfixturevalue("url")))


@pytest.fixture
def local(tmp_path: Path) -> FileClaims:
    return FileClaims(tmp_path)


# Claims


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = Claim(OWNER, 4)
    assert Claim.parse(claim.to_json(), 4) == claim
    assert json.loads(claim.to_json()) == OWNER
    assert Claim.parse(claim.to_json()).number == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_a_damaged_claim_has_no_fields(content: bytes) -> None:
    assert Claim.parse(content, 5) == Claim({}, 5)


def test_a_claim_is_free_if_there_is_none_or_it_was_released() -> None:
    assert Claim().is_free
    assert Claim(OWNER | {"released": True}, 3).is_free
    assert not Claim(OWNER, 3).is_free
    assert not Claim({}, 3).is_free  # damaged: its owner may be alive


def test_a_claim_belongs_to_its_run_until_it_is_released() -> None:
    assert Claim(OWNER).is_owned_by("mine")
    assert not Claim(OWNER).is_owned_by("other")
    assert not Claim(OWNER | {"released": True}).is_owned_by("mine")
    assert not Claim().is_owned_by("mine")


def test_a_claim_names_its_owner() -> None:
    assert str(Claim(OWNER)) == "process 7 on here, seen at then"
    assert str(Claim({"pid": 7})) == "process 7 on ?"
    assert str(Claim()) == "process ? on ?"


# Back ends


def test_the_last_claim_is_the_one_that_was_taken_and_written(claims: Claims) -> None:
    assert claims.last() == Claim()
    taken = claims.take_over(Claim(), Claim(OWNER))
    assert claims.last() == taken
    assert taken.fields == OWNER
    beat = taken._replace(fields=OWNER | {"beats": 4})
    claims.write(beat)
    assert claims.last() == beat


def test_only_the_last_claim_can_be_replaced(claims: Claims) -> None:
    first = claims.take_over(Claim(), Claim(OWNER))
    with pytest.raises(Taken):
        claims.take_over(Claim(), Claim(OWNER | {"run": "late"}))
    assert claims.last() == first
    second = claims.take_over(first, Claim(OWNER | {"run": "second"}))
    assert claims.last() == second
    assert second.fields["run"] == "second"


def test_a_released_claim_is_free(claims: Claims) -> None:
    claims.release(claims.take_over(Claim(), Claim(OWNER)))
    assert claims.last().is_free
    assert not claims.last().is_owned_by("mine")


def test_publishing_needs_the_claim(claims: Claims) -> None:
    with pytest.raises(LostLock, match="mine"), publishing(claims, "mine"):
        raise AssertionError("entered")
    claims.take_over(Claim(), Claim(OWNER))
    with publishing(claims, "mine"):
        pass
    with pytest.raises(LostLock), publishing(claims, "other"):
        raise AssertionError("entered")


def test_an_object_is_created_once(url: str) -> None:
    claims = ObjectClaims(Bucket(url))
    assert claims._create(Claim(OWNER, 3))
    assert not claims._create(Claim(OWNER | {"run": "late"}, 3))
    assert claims.last() == Claim(OWNER, 3)


def test_a_claim_that_vanishes_between_two_requests_keeps_its_number(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ObjectClaims(Bucket(url))
    claims.take_over(Claim({}, 6), Claim(OWNER))
    monkeypatch.setattr(Bucket, "read", raising(FileNotFoundError(errno.ENOENT, "No such file")))
    assert claims.last() == Claim({}, 7)


def test_an_old_claim_that_cannot_be_deleted_does_no_harm(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ObjectClaims(Bucket(url))
    first = claims.take_over(Claim(), Claim(OWNER))
    monkeypatch.setattr(Bucket, "delete", raising(PermissionError(errno.EACCES, "no permission")))
    second = claims.take_over(first, Claim(OWNER | {"run": "second"}))
    assert claims.last() == second


# Files


def test_an_owner_of_this_host_is_dead_for_certain_when_its_kernel_lock_is_free(local: FileClaims) -> None:
    assert local.silent_beats(Claim({"host": socket.gethostname()})) == 0
    assert local.silent_beats(Claim({"host": "another.example"})) == 3
    assert local.silent_beats(Claim()) == 3


def test_a_second_living_process_is_noticed(local: FileClaims, tmp_path: Path) -> None:
    with local.alive():
        with pytest.raises(Taken), local.alive():
            raise AssertionError("entered")
        assert (tmp_path / "driver").exists()
    with local.alive():  # the first one has ended
        pass


def test_a_claim_appears_whole_and_leaves_nothing_beside_it(local: FileClaims, tmp_path: Path) -> None:
    (tmp_path / "lock-dead").write_bytes(b"half")
    local.take_over(Claim(), Claim(OWNER))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "writers"]
    assert json.loads((tmp_path / "lock").read_bytes()) == OWNER
    local.release(Claim(OWNER))
    assert not (tmp_path / "lock").exists()


def test_a_claim_that_cannot_be_written_leaves_the_old_one(
    local: FileClaims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = local.take_over(Claim(), Claim(OWNER))

    def full(path: Path, _: bytes) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        local.write(taken)
    assert local.last() == taken
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "writers"]


def test_a_claim_of_more_than_64_kb_is_none(local: FileClaims, tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(json.dumps(OWNER).encode().ljust(1 << 16))
    assert local.last() == Claim(OWNER)
    (tmp_path / "lock").write_bytes(json.dumps(OWNER).encode().ljust((1 << 16) + 1))
    assert local.last() == Claim()


def test_a_take_over_waits_for_a_publish_and_publishes_do_not_wait_for_each_other(local: FileClaims) -> None:
    first = local.take_over(Claim(), Claim(OWNER))
    with local.publishing(), local.publishing():
        taking = threading.Thread(target=lambda: local.take_over(first, Claim(OWNER | {"run": "second"})))
        taking.start()
        taking.join(0.2)
        assert taking.is_alive()
        assert local.last() == first
    taking.join(10)
    assert local.last().fields["run"] == "second"


def test_a_publish_that_does_not_end_is_reported(local: FileClaims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_claims, "_PATIENCE", 0.1)
    with local.publishing(), pytest.raises(PipelineError, match="publishing for 0 s; end it"):
        local.take_over(Claim(), Claim(OWNER))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without(
    number: int, local: FileClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", raising(OSError(number, os.strerror(number))))
    with local.alive(), local.publishing():
        local.take_over(Claim(), Claim(OWNER))
    assert local.last() == Claim(OWNER)


def test_another_error_of_a_lock_is_raised(local: FileClaims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"), local.alive():
        raise AssertionError("entered")


def raising(error: OSError) -> Callable[..., None]:
    def function(*_: object) -> None:
        raise error

    return function


# The protocol, with claims in memory


class Memory(Claims):
    """Claims of which a test decides when they change."""

    def __init__(self, claim: Claim | None = None, beats: int = 2) -> None:
        self.claim, self.beats = claim or Claim(), beats

    def alive(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def last(self) -> Claim:
        return self.claim

    def silent_beats(self, claim: Claim) -> int:
        return self.beats

    def take_over(self, before: Claim, claim: Claim) -> Claim:
        if before != self.claim:
            raise Taken
        self.claim = claim._replace(number=before.number + 1)
        return self.claim

    def write(self, claim: Claim) -> None:
        self.claim = claim

    def release(self, claim: Claim) -> None:
        self.claim = claim._replace(fields={**claim.fields, "released": True})

    def publishing(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.1)
    return 0.1


def test_an_owner_writes_who_it_is_and_beats(beat: float) -> None:
    claims = Memory()
    with BuildLock(claims, "mine"):
        fields = dict(claims.claim.fields)
        assert fields.pop("time").startswith("20")
        assert fields == {
            "run": "mine", "host": socket.gethostname(), "pid": os.getpid(), "beats": 1, "released": False,
        }  # fmt: skip
        wait_for(lambda: claims.claim.fields["beats"] >= 3)
        assert claims.claim.number == 1
    assert claims.claim.is_free
    beats = claims.claim.fields["beats"]
    time.sleep(3 * beat)
    assert claims.claim.fields["beats"] == beats  # the heart has stopped


def test_a_silent_owner_is_waited_for_as_long_as_its_back_end_says(beat: float) -> None:
    claims = Memory(Claim(OWNER, 8), beats=4)
    start = time.monotonic()
    with BuildLock(claims, "new"):
        assert 4 * beat <= time.monotonic() - start < 4 * beat + 1
        assert claims.claim.number == 9


@pytest.mark.parametrize("claim", [Claim(), Claim(OWNER | {"released": True}, 8)])
def test_a_free_output_is_taken_at_once(claim: Claim, beat: float) -> None:
    start = time.monotonic()
    with BuildLock(Memory(claim, beats=1000), "new"):
        assert time.monotonic() - start < 1


def test_a_sign_of_life_refuses_the_second_run(beat: float) -> None:
    claims = Memory(Claim(OWNER, 8), beats=1000)
    timer = threading.Timer(0.05, lambda: claims.write(Claim(OWNER | {"beats": 4}, 8)))
    timer.start()
    with pytest.raises(PipelineError, match=r"another run is building this output \(process 7 on here, seen at then\)"):
        BuildLock(claims, "new").__enter__()
    timer.join()
    assert claims.claim.fields["run"] == "mine"


def test_an_owner_that_releases_meanwhile_is_replaced(beat: float) -> None:
    claims = Memory(Claim(OWNER, 8), beats=1000)
    threading.Timer(0.05, lambda: claims.release(claims.claim)).start()
    with BuildLock(claims, "new"):
        assert claims.claim.is_owned_by("new")


def test_a_third_run_that_released_meanwhile_counts_as_a_sign_of_life(beat: float) -> None:
    claims = Memory(Claim(OWNER, 8), beats=1000)
    threading.Timer(0.05, lambda: claims.write(Claim(OWNER | {"run": "third", "released": True}, 9))).start()
    with pytest.raises(PipelineError, match="another run is building"):
        BuildLock(claims, "new").__enter__()


def test_waiting_is_said_once_and_only_after_a_while(
    beat: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with BuildLock(Memory(Claim(OWNER, 8), beats=4), "new"):
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(lock, "QUIET", 0.1)
    with BuildLock(Memory(Claim(OWNER, 8), beats=8), "new"):
        said = capsys.readouterr().err
    assert said == (
        "another run was building this output (process 7 on here, seen at then); waiting 1 s for a sign of life\n"
    )


def test_a_lost_output_is_not_taken_back_and_not_released(beat: float) -> None:
    claims = Memory()
    with BuildLock(claims, "mine"):
        theirs = Claim(OWNER | {"run": "theirs"}, 5)
        claims.claim = theirs
        time.sleep(4 * beat)
        assert claims.claim == theirs
    assert claims.claim == theirs


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), PipelineError("slow")])
def test_a_beat_that_fails_is_tried_again(error: Exception, beat: float, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Memory()
    with BuildLock(claims, "mine"):
        write = claims.write
        failed: list[Claim] = []

        def once(claim: Claim) -> None:
            if not failed:
                failed.append(claim)
                raise error
            write(claim)

        monkeypatch.setattr(claims, "write", once)
        wait_for(lambda: failed and claims.claim.fields["beats"] > failed[0].fields["beats"])


def test_a_release_that_fails_does_not_hide_the_end(beat: float, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Memory()
    monkeypatch.setattr(claims, "release", raising(OSError(errno.EIO, "Input/output error")))
    with BuildLock(claims, "mine"):
        pass
    assert claims.claim.is_owned_by("mine")


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
