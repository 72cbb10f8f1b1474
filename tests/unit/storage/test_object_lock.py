"""Promises of ownership in object storage: one run at a time; a dead run does not block; a lost output stays lost."""

import json
import threading
import time
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.storage import lock, object_claims
from pipeline.storage.bucket import Bucket
from pipeline.storage.lock import BuildLock, Claim, LostLock, publishing
from pipeline.storage.object_claims import ObjectClaims
from tests.unit.storage.conftest import BUCKET
from tests.unit.storage.s3_server import S3Server

pytestmark = pytest.mark.usefixtures("fast")


PATIENCE = 6 * 0.2  # seconds, with the heartbeat of ``fast``


@pytest.fixture
def bucket(url: str) -> Bucket:
    return Bucket(url)


def claimed(bucket: Bucket, number: int, **owner: Any) -> None:
    content = {"run": "theirs", "host": "another.example", "pid": 42, "time": "then", "beats": 1} | owner
    bucket.write(f".build/lock/{number:06d}", json.dumps(content).encode())


def owning(bucket: Bucket, run: str) -> BuildLock:
    return BuildLock(ObjectClaims(bucket), run)


def last_claim(bucket: Bucket) -> Claim:
    return ObjectClaims(bucket).last()


def check_owner(bucket: Bucket, run: str) -> None:
    with publishing(ObjectClaims(bucket), run):
        pass


def test_a_second_run_is_refused_while_the_first_one_lives(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_claims, "SILENT_BEATS", 10_000)
    with owning(bucket, "first"):
        with pytest.raises(
            PipelineError, match=r"^another run is building this output \(process \d+ on .*, seen at 20"
        ):
            owning(bucket, "second").__enter__()
        check_owner(bucket, "first")
    with owning(bucket, "second"):
        check_owner(bucket, "second")


def test_a_released_output_is_taken_at_once(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_claims, "SILENT_BEATS", 10_000)
    for run in ("first", "second", "third"):
        with owning(bucket, run):
            check_owner(bucket, run)
    assert bucket.names(".build/lock") == ["000003"]


def test_a_dead_owner_is_replaced_after_a_wait(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "QUIET", 0.2)
    claimed(bucket, 7)
    start = time.monotonic()
    with owning(bucket, "mine"):
        assert time.monotonic() - start >= PATIENCE
        assert bucket.names(".build/lock") == ["000008"]
        with pytest.raises(LostLock):
            check_owner(bucket, "theirs")
    said = capsys.readouterr().err
    assert said.startswith("another run was building this output (process ") and said.count("\n") == 1
    assert said.endswith("waiting 1 s for a sign of life\n")


def test_an_owner_that_releases_while_others_wait_is_replaced_at_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_claims, "SILENT_BEATS", 10_000)
    claimed(bucket, 7)
    timer = threading.Timer(0.3, lambda: claimed(bucket, 7, released=True, beats=2))
    timer.start()
    with owning(bucket, "mine"):
        check_owner(bucket, "mine")
    timer.join()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_claim_is_a_dead_one(content: bytes, bucket: Bucket) -> None:
    bucket.write(".build/lock/000003", content)
    bucket.write(".build/lock/other", b"")
    with owning(bucket, "mine"):
        check_owner(bucket, "mine")


def test_of_many_that_find_a_dead_owner_one_wins(bucket: Bucket) -> None:
    claimed(bucket, 7)
    start, won, refused = threading.Barrier(6), [], []

    def contend(run: str) -> None:
        start.wait()
        try:
            with owning(bucket, run):
                won.append(run)
                time.sleep(2 * PATIENCE)
                check_owner(bucket, run)
        except PipelineError:
            refused.append(run)

    threads = [threading.Thread(target=contend, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 5)


def test_without_conditional_writes_the_last_of_two_wins(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lets both runs create the same claim. The run that reads the other's claim gives up."""
    created: list[str] = []

    def create(self: Bucket, name: str, data: bytes) -> None:
        self.write(name, data)
        created.append(name)
        if len(created) == 2:
            claimed(bucket, 1)

    monkeypatch.setattr(object_claims, "_SECOND_LOOK", 0.1)
    monkeypatch.setattr(Bucket, "create", create)
    with pytest.raises(PipelineError, match=r"process 42 on another\.example"):
        owning(bucket, "first").__enter__()
    assert last_claim(bucket).fields["run"] == "theirs"


def test_what_is_there_cannot_be_created(bucket: Bucket) -> None:
    bucket.create(".build/lock/000001", b"first")
    with pytest.raises(FileExistsError):
        bucket.create(".build/lock/000001", b"second")
    assert bucket.read(".build/lock/000001") == b"first"


def test_a_server_that_knows_no_conditions_gets_plain_writes(bucket: Bucket, server: S3Server) -> None:
    server.fail("PUT", "/lock/", 501, "NotImplemented", times=1)
    bucket.create(".build/lock/000001", b"{}")
    assert bucket.read(".build/lock/000001") == b"{}"


def test_a_heart_does_not_take_a_lost_output_back(bucket: Bucket) -> None:
    with owning(bucket, "frozen"):
        claimed(bucket, 2)
        time.sleep(4 * lock.HEARTBEAT)
        assert last_claim(bucket).fields["run"] == "theirs"
        with pytest.raises(LostLock):
            check_owner(bucket, "frozen")
        before = bucket.read(".build/lock/000001")
        time.sleep(3 * lock.HEARTBEAT)
        assert bucket.read(".build/lock/000001") == before
    assert last_claim(bucket).fields["run"] == "theirs"


def test_a_heart_outlives_a_failing_server(bucket: Bucket, server: S3Server) -> None:
    with owning(bucket, "mine"):
        server.fail("PUT", "/lock/", 400, "InvalidRequest", times=3)
        beats = last_claim(bucket).fields["beats"]
        time.sleep(8 * lock.HEARTBEAT)
        assert last_claim(bucket).fields["beats"] > beats


def test_uploads_that_a_dead_run_began_are_given_up(url: str, server: S3Server) -> None:
    mine, theirs = f"{url.partition(f'{BUCKET}/')[2]}/folder/a", "elsewhere/b"
    for key in (mine, theirs):
        server.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    Bucket(url).abort_uploads()
    assert server.uploads(url) == []
    assert server.uploads(f"s3://{BUCKET}/elsewhere") == [theirs]


def test_uploads_may_be_none_of_ours_to_list(url: str, server: S3Server) -> None:
    server.fail("GET", r"\?.*uploads", 403, "AccessDenied")
    Bucket(url).abort_uploads()
    assert any("uploads" in request for request in server.requests())
