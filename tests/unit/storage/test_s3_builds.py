"""Promise: an output in object storage equals the local one, byte for byte, on every path to it."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.build import main
from pipeline.storage import object_claims
from tests.conftest import Build, Files, contents
from tests.unit.storage.s3_server import S3Server

SAMPLE = ("--dataset", "sample", "--limit", "25", "--samples-per-shard", "10", "--components", "low,high,full")
LOCK = r"/\.build/lock"


@pytest.fixture
def local(build: Build, tmp_path: Path) -> Callable[..., Files]:
    """Builds locally and returns the files."""

    def run(*arguments: object, status: int = 0) -> Files:
        assert build(*arguments, "--out", tmp_path / "local").status == status
        return contents(tmp_path / "local")

    return run


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_same_files_as_on_a_disk(
    workers: int, build: Build, local: Callable[..., Files], url: str, server: S3Server, scratches: Path
) -> None:
    job = (*SAMPLE, "--ranks", "3,5", "--exact", "--factors")
    assert build(*job, "--workers", workers, "--out", url) == (0, "", "")
    assert server.contents(url) == local(*job)
    assert [name for name in server.names(url) if name.startswith(".build/lock")] == [".build/lock/000001"]
    assert [path for path in scratches.rglob("*") if path.is_file() and path.suffix != ".lock"] == [scratches / "guard"]


def test_a_second_identical_run_writes_nothing_and_asks_little(build: Build, url: str, server: S3Server) -> None:
    job = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "5", "--limit", "150", "--out", url)
    assert build(*job).status == 0
    before = server.objects(url)
    server.reset()
    assert build(*job) == (0, "", "")
    assert server.objects(url) == before
    asked = [request for request in server.requests() if not re.search(LOCK, request)]
    records = [request for request in asked if request.startswith("GET") and "/records/" in request]
    shards = 60
    assert len(set(records)) == shards
    assert len(records) <= 2 * shards  # for the survey and for the manifest, many at a time
    assert not [request for request in asked if request.startswith("HEAD")]
    assert len(asked) - len(records) < 30  # of 60 shards with 5 files each


def test_recheck_compares_hashes(build: Build, url: str, server: S3Server) -> None:
    job = (*SAMPLE, "--ranks", "3", "--out", url)
    assert build(*job).status == 0
    before, name = server.contents(url), "sample-rank3/sample-rank3-train-000001.tar"
    edited = before[name][:-1] + b"x"
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    server.client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=edited)
    assert build(*job).status == 0
    assert server.contents(url)[name] == edited
    assert build(*job, "--recheck").status == 0
    assert server.contents(url) == before


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_lost_or_cut_object_is_built_again_alone(how: str, build: Build, url: str, server: S3Server) -> None:
    job = (*SAMPLE, "--ranks", "3", "--out", url)
    assert build(*job).status == 0
    before, when = server.contents(url), server.objects(url)
    time.sleep(1)  # whole seconds are all that an object tells of its time
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    for name in ("sample-rank3/sample-rank3-train-000001.tar", "README.md", "spectra.zarr/test/c.0.0.0"):
        if how == "lost":
            server.client.delete_object(Bucket=bucket, Key=f"{prefix}/{name}")
        else:
            server.client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=before[name][:-1])
    assert build(*job) == (0, "", "")
    assert server.contents(url) == before
    now = server.objects(url)
    tars = {name for name in now if name.endswith(".tar") and now[name] != when[name]}
    assert tars == {
        "sample-rank3/sample-rank3-train-000001.tar",
        *(name for name in now if name.endswith("-test-000000.tar") and now[name] != when[name]),
    }


def test_growth_writes_what_is_missing(build: Build, local: Callable[..., Files], url: str, server: S3Server) -> None:
    assert build(*SAMPLE, "--ranks", "3", "--splits", "test", "--out", url).status == 0
    when = server.objects(url)
    assert build(*SAMPLE, "--ranks", "7", "--out", url).status == 0
    now = server.objects(url)
    kept = [name for name in when if name.endswith(".tar") and now[name] == when[name]]
    assert len(kept) == 9
    assert server.contents(url) == local(*SAMPLE, "--ranks", "3,7")


def test_another_job_is_refused_and_overwrites_only_when_told(
    build: Build, refused: Callable[..., str], local: Callable[..., Files], url: str, server: S3Server
) -> None:
    assert build(*SAMPLE, "--ranks", "3", "--out", url).status == 0
    other = ("--dataset", "sample", "--limit", "12", "--ranks", "9", "--order", "shuffled", "--name", "other")
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    before = server.objects(url)
    assert refused(*other, "--out", url, status=1).startswith("the output is of another job: ")
    assert server.objects(url) == before
    for name in ("notes.txt", "sample-rank3-notes/x"):
        server.client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"mine")
    assert build(*other, "--overwrite", "--out", url).status == 0
    assert server.contents(url) == local(*other) | {"notes.txt": b"mine", "sample-rank3-notes/x": b"mine"}


def test_a_prefix_with_files_of_others_is_refused(refused: Callable[..., str], url: str, server: S3Server) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    server.client.put_object(Bucket=bucket, Key=f"{prefix}/notes.txt", Body=b"mine")
    line = refused(*SAMPLE, "--ranks", "3", "--out", url, status=1)
    assert (
        line
        == f"--out {url} holds files, and nothing says that a build has written them; name an empty or a new folder"
    )
    server.client.put_object(Bucket=bucket, Key=f"{prefix}er/x", Body=b"a neighbour")
    server.client.delete_object(Bucket=bucket, Key=f"{prefix}/notes.txt")
    assert main([*SAMPLE, "--ranks", "3", "--out", url, "--workers", "0", "--quiet"]) == 0


def test_rejects_are_told_and_listed(
    build: Build, pictures: Callable[..., Path], local: Callable[..., Files], url: str, server: S3Server
) -> None:
    folder = pictures()
    (folder / "a" / "02x.png").write_text("no image")
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3")
    result = build(*job, "--out", url)
    assert result.status == 3
    assert result.err.startswith("1 image was rejected (a/02x.png: ")
    assert result.err.endswith(f"; all are in {url}/rejects.jsonl; a rerun tries them again\n")
    assert server.contents(url) == local(*job, status=3)


def test_a_dry_run_writes_nothing(build: Build, url: str, server: S3Server) -> None:
    result = build(*SAMPLE, "--ranks", "3", "--dry-run", "--out", url)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"{url}: rank3, highrank3, full; order source\n")
    assert server.names(url) == []
    assert build(*SAMPLE, "--ranks", "3", "--out", url).status == 0
    before = server.objects(url), server.names(url)
    text = build(*SAMPLE, "--ranks", "3", "--dry-run", "--out", url).out
    assert text.endswith("everything is in place; nothing would be built\n")
    assert (server.objects(url), server.names(url)) == before


def test_the_summary_says_how_to_copy_and_prove(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SAMPLE, "--ranks", "3", "--out", url, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{url}: rank3, highrank3, full of ")
    assert out.endswith(
        f"next: aws s3 sync {url} out/sample --exclude '.build/*' && python -m pipeline.verify out/sample\n"
    )


def test_a_copy_is_proven(build: Build, url: str, server: S3Server, tmp_path: Path) -> None:
    from pipeline.verify import main as verify

    assert build(*SAMPLE, "--ranks", "3", "--out", url).status == 0
    for name, content in server.contents(url).items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    assert verify([str(tmp_path / "copy"), "--workers", "1"]) == 0


def test_runs_are_logged_and_the_lock_released(build: Build, url: str, server: S3Server) -> None:
    assert build(*SAMPLE, "--ranks", "3", "--out", url).status == 0
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    log = server.client.get_object(Bucket=bucket, Key=f"{prefix}/.build/runs.jsonl")["Body"].read().decode()
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["started", "finished"]
    claim = server.client.get_object(Bucket=bucket, Key=f"{prefix}/{object_claims.FOLDER}/000001")["Body"].read()
    assert json.loads(claim)["released"] is True
