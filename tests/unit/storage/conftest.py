"""An S3 server for all tests here, and a fresh prefix for each."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import lock, upload_scratch
from tests.unit.storage.s3_server import S3Server

_numbers = itertools.count()
BUCKET = "bucket"


@pytest.fixture(scope="session")
def running() -> Iterator[S3Server]:
    for module in ("moto", "flask", "boto3", "s3fs"):
        pytest.importorskip(module)
    with S3Server() as server:
        server.client.create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def server(
    running: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    """The server, which this process and its children are told of by environment variables alone."""
    running.mend()
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setattr("tempfile.tempdir", None)
    forget()
    yield running
    running.mend()
    forget()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners are given up soon."""
    monkeypatch.setattr(lock, "HEARTBEAT", 0.2)


@pytest.fixture
def url(server: S3Server) -> str:
    """A prefix that nobody has used."""
    return f"s3://{BUCKET}/tests/{next(_numbers)}"


@pytest.fixture
def scratches(server: S3Server) -> Iterator[Path]:
    """The folder in which this process and its children keep scratch."""
    import os
    import tempfile

    yield Path(tempfile.gettempdir()) / f"rank-shards-{os.getuid()}"


def forget() -> None:
    """As in a new process: the environment is read anew."""
    from pipeline.storage import bucket

    bucket._files.cache_clear()
    upload_scratch._own.cache_clear()
