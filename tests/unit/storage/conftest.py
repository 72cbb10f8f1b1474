"""One S3 server per session, and an unused prefix for each test."""

import itertools
import os
import tempfile
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
def home() -> Iterator[Path]:
    """A folder for temporary files. Its name is short, because Ray's sockets are below it."""
    with tempfile.TemporaryDirectory(prefix="s3-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[S3Server]:
    """The server without faults. This process and its children know it by environment variables alone."""
    running.reset()
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setattr("tempfile.tempdir", None)
    forget()
    yield running
    running.reset()
    forget()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short heartbeats: a silent owner counts as dead after about a second."""
    monkeypatch.setattr(lock, "HEARTBEAT", 0.2)


@pytest.fixture
def url(server: S3Server) -> str:
    """An unused prefix."""
    return f"s3://{BUCKET}/tests/{next(_numbers)}"


@pytest.fixture
def scratches(server: S3Server) -> Iterator[Path]:
    """The folder for scratch files of this process and its children."""
    yield Path(tempfile.gettempdir()) / f"rank-shards-{os.getuid()}"


def forget() -> None:
    """Clears caches, so that the environment is read again, as in a new process."""
    from pipeline.storage import bucket

    bucket._files.cache_clear()
    upload_scratch._own.cache_clear()
