"""Promise: after any kill, the same command ends with the bytes of an undisturbed build."""

import functools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

from tests.faults.builds import Build, Ended, one_line, orphaned, run, undisturbed
from tests.faults.processes import open_files
from tests.unit.storage.conftest import BUCKET
from tests.unit.storage.s3_server import S3Server

pytestmark = pytest.mark.fault

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "10", "--limit", "100")
SHARDS = 20
LONG = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "2", "--limit", "200")
LARGE = (
    "--dataset",
    "sample",
    "--ranks",
    "3,5,10,20",
    "--samples-per-shard",
    "600",
    "--limit",
    "1200",
    "--splits",
    "train",
)
SOON = "import pipeline.storage.lock as l; l.HEARTBEAT = 0.3"


def building(*arguments: object, url: str, prelude: str = SOON) -> Build:
    return Build(*arguments, out=cast(Any, url), prelude=prelude)


def built(*arguments: object, url: str) -> Ended:
    return run(*arguments, out=cast(Any, url), prelude=SOON)


def digests(server: S3Server, url: str) -> dict[str, str]:
    import hashlib

    return {name: hashlib.sha256(content).hexdigest() for name, content in server.contents(url).items()}


def records(server: S3Server, url: str) -> int:
    return sum("/records/" in name for name in server.names(url))


def assert_undisturbed(server: S3Server, url: str, job: tuple[str, ...]) -> None:
    assert digests(server, url) == undisturbed(*job)
    assert server.uploads(url) == []
    assert len([name for name in server.names(url) if name.startswith(".build/lock/")]) == 1


def assert_nothing_partial(server: S3Server, url: str, job: tuple[str, ...]) -> None:
    found = digests(server, url)
    whole = undisturbed(*job)
    assert {name: whole.get(name) for name in found} == found


@pytest.mark.full
def test_a_build_killed_again_and_again_ends_with_the_same_bytes(url: str, server: S3Server, scratches: Path) -> None:
    """One process, killed after so many uploads that it falls between and within shards."""
    chance = random.Random(3)
    for kill in range(4):
        with building(*JOB, "--workers", 0, url=url) as build:
            goal = records(server, url) + 1 + kill
            build.wait_for(lambda goal=goal: records(server, url) >= goal, pause=0.01)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.1))
            build.send(signal.SIGKILL)
            assert build.end().status == -signal.SIGKILL
        assert "manifest.json" not in server.names(url)
        assert_nothing_partial(server, url, JOB)
    ended = built(*JOB, "--workers", 0, url=url)
    assert (ended.status, ended.err) == (0, "")
    assert_undisturbed(server, url, JOB)
    left = [path for path in scratches.rglob("*") if path.is_file() and path.name != "guard"]
    assert len(left) <= 1, left  # the lock of the last one, whose folder is empty


@pytest.mark.ray
def test_killed_workers_and_driver_leave_no_trace(url: str, server: S3Server) -> None:
    chance = random.Random(4)
    with building(*JOB, "--workers", 2, url=url) as build:
        build.wait_for(lambda: records(server, url) >= 2, pause=0.01)
        os.kill(build.some_worker(chance), signal.SIGKILL)
        build.wait_for(lambda: records(server, url) >= 6, pause=0.01)
        build.send(signal.SIGKILL)
        build.end()
    assert records(server, url) < SHARDS
    assert_nothing_partial(server, url, JOB)
    with building(*JOB, "--workers", 2, url=url) as build:
        before = records(server, url)
        build.wait_for(lambda: records(server, url) > before, pause=0.01)
        os.kill(build.some_worker(chance), signal.SIGKILL)
        ended = build.end()
    assert ended.status == 0, ended
    assert "its worker died" in ended.err
    assert_undisturbed(server, url, JOB)


@pytest.mark.full
def test_a_second_run_is_refused(url: str, server: S3Server) -> None:
    with building(*LONG, "--workers", 0, url=url) as first:
        first.wait_for(lambda: records(server, url) >= 1, pause=0.01)
        second = built(*LONG, "--workers", 0, url=url)
        assert "manifest.json" not in server.names(url), "the first one ended too early for this test"
        assert one_line(second).startswith(f"another run is building this output (process {first.pid} on ")
        assert first.end()[:3] == (0, "", "")
    assert_undisturbed(server, url, LONG)


def test_ctrl_c_releases_the_output(url: str, server: S3Server) -> None:
    with building(*JOB, "--workers", 0, url=url) as build:
        build.wait_for(lambda: records(server, url) >= 2, pause=0.01)
        build.press_ctrl_c()
        ended = build.end()
    assert ended.status == 1
    assert ended.err == "stopped; what is committed stays, and the same command continues from there\n"
    assert ended.seconds < 10
    with building(
        *JOB, "--workers", 0, url=url, prelude="import pipeline.storage.object_claims as c; c.SILENT_BEATS = 1000"
    ) as build:
        assert build.end()[:3] == (0, "", "")
    assert_undisturbed(server, url, JOB)


@pytest.mark.ray
@pytest.mark.full
def test_an_orphaned_worker_publishes_nothing(url: str, server: S3Server, scratches: Path) -> None:
    """Its driver is killed and the next run finishes the output. Only then the worker wakes up and continues."""
    start = functools.partial(building, *LARGE, "--workers", 2, url=url)
    with orphaned(start, lambda pid: writes(pid, scratches)) as (build, orphan):
        assert built(*LARGE, "--workers", 0, url=url)[:3:2] == (0, "")
        assert_undisturbed(server, url, LARGE)
        before, names = server.objects(url), server.names(url)
        build.wake(orphan)
    assert (server.objects(url), server.names(url)) == (before, names)


@pytest.mark.full
def test_an_upload_that_arrives_after_the_output_was_taken_over_changes_nothing(url: str, server: S3Server) -> None:
    """The remaining race: the check passes, then another run takes the output over, then the bytes arrive."""
    shard = "sample-rank3/sample-rank3-train-000001.tar"
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    assert built(*JOB, "--workers", 0, url=url).status == 0
    late = {name: body(server, f"{prefix}/{name}") for name in (shard, ".build/records/train-000001.json")}
    grown = (*JOB[:3], "3,7", *JOB[4:])
    assert built(*grown, "--workers", 0, url=url).status == 0
    for name, content in late.items():
        server.client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
    assert digests(server, url) == undisturbed(*grown)  # the same bytes, and a record that says less than there is
    assert built(*grown, "--workers", 0, url=url)[:3:2] == (0, "")
    assert_undisturbed(server, url, grown)


@pytest.mark.full
def test_a_late_record_of_another_job_is_not_believed(url: str, server: S3Server) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    other = (*JOB, "--order", "shuffled")
    assert built(*other, "--workers", 0, url=url).status == 0
    names = [name for name in server.names(url) if "train-000001." in name or name == "spectra.zarr/train/c.1.0.0"]
    assert len(names) == 6  # a whole shard, and its record
    late = {name: body(server, f"{prefix}/{name}") for name in names}
    assert built(*JOB, "--workers", 0, "--overwrite", url=url).status == 0
    for name, content in late.items():
        server.client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
    assert built(*JOB, "--workers", 0, url=url)[:3:2] == (0, "")
    assert_undisturbed(server, url, JOB)


def body(server: S3Server, key: str) -> bytes:
    content: bytes = server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def writes(pid: int, folder: Path) -> bool:
    """Whether a process has a scratch file open for writing."""
    return any(
        target.startswith(f"{folder}/") and not target.endswith((".lock", "guard")) for target in open_files(pid)
    )
