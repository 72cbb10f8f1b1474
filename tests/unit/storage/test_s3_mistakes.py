"""Promise: a wrong bucket, endpoint or credential is reported in one line, within seconds, before work starts."""

import builtins
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.execution import scheduler
from tests.conftest import Build
from tests.unit.storage.conftest import forget
from tests.unit.storage.s3_server import S3Server

Refused = Callable[..., str]
JOB = ("--dataset", "sample", "--ranks", "3", "--limit", "8", "--samples-per-shard", "4")


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which a build starts its shards."""

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("work has started")

    monkeypatch.setattr(scheduler, "run", run)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("no_work", "server")
def test_no_such_bucket(refused: Refused) -> None:
    line = refused(*JOB, "--out", "s3://nobody-bucket/out", status=1)
    assert line == "--out s3://nobody-bucket/out: there is no such bucket"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]
)
def test_no_permission(method: str, code: str, refused: Refused, url: str, server: S3Server) -> None:
    server.fail(method, url.removeprefix("s3:/").partition("/tests")[0], 403, code)
    line = refused(*JOB, "--out", url, status=1)
    assert line.startswith(f"--out {url}")
    assert f": no permission ({code}: {code} as told)" in line


@pytest.mark.usefixtures("no_work", "server")
def test_no_credentials(refused: Refused, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget()
    line = refused(*JOB, "--out", url, status=1)
    assert line.startswith(f"--out {url}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@pytest.mark.usefixtures("no_work", "server")
@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid", "silent", "127.0.0.1:9", "http://127.0.0.1:99999"]
)
def test_an_endpoint_that_nobody_answers_at(
    endpoint: str, refused: Refused, url: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = silent if endpoint == "silent" else endpoint
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    forget()
    start = time.monotonic()
    line = refused(*JOB, "--out", url, status=1)
    assert time.monotonic() - start < 20  # ten seconds, and a busy machine
    assert line.startswith(f"--out {url}: ")
    assert endpoint in line


@pytest.mark.usefixtures("no_work", "server")
def test_a_profile_that_is_not_there(refused: Refused, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget()
    line = refused(*JOB, "--out", url, status=1)
    assert "nobody" in line


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("protocol", "module"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_library_is_told_with_how_to_install_it(
    protocol: str, module: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def fail(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}")
        return real(name, *arguments, **options)

    monkeypatch.setattr("importlib.import_module", lambda name: fail(name))
    forget()
    line = refused(*JOB, "--out", f"{protocol}://bucket/out", status=1)
    assert line == (
        f"--out {protocol}://bucket/out: needs {module} (No module named {module!r}); pip install 'rank-shards[cloud]'"
    )


@pytest.mark.parametrize(
    ("status", "code", "times"), [(503, "SlowDown", 2), (503, "ServiceUnavailable", 2), (500, "InternalError", 2)]
)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_throttling_is_waited_for(
    method: str, status: int, code: str, times: int, build: Build, url: str, server: S3Server
) -> None:
    server.fail(method, "records|tar|list-type", status, code, times=times, after=3)
    assert build(*JOB, "--splits", "test", "--out", url) == (0, "", "")


def test_what_does_not_end_fails_the_build_and_the_same_command_goes_on(
    build: Build, url: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.fail("PUT", "rank3-test-000001.tar", 400, "InvalidRequest")
    result = build(*JOB, "--splits", "test", "--out", url)
    assert result.status == 1
    tried = f"shard test-000001: {url}/sample-highrank3/sample-highrank3-test-000001.tar InvalidRequest: InvalidRequest"
    lines = result.err.splitlines()
    assert len(lines) == 3
    assert tried.replace("highrank3", "rank3") in lines[-1] or tried in lines[-1], result.err
    assert lines[-1].startswith("error: ")
    assert lines[-1].endswith("(tried 3 times)")
    assert ".build/records/test-000000.json" in server.names(url)
    assert not {".build/records/test-000001.json", "manifest.json"} & set(server.names(url))
    server.reset()
    assert build(*JOB, "--splits", "test", "--out", url) == (0, "", "")


def test_permission_lost_in_mid_build_is_final(build: Build, url: str, server: S3Server) -> None:
    server.fail("PUT", "rank3-test-000001.tar", 403, "AccessDenied")
    result = build(*JOB, "--splits", "test", "--out", url)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "no permission (AccessDenied: AccessDenied as told)" in result.err


def test_deletes_that_are_refused_are_noticed(build: Build, refused: Refused, url: str, server: S3Server) -> None:
    """A bulk delete answers 200 and lists what it did not delete."""
    assert build(*JOB, "--out", url).status == 0
    server.fail("POST", r"\?delete", 200, "Nothing")
    line = refused(*JOB, "--limit", "6", "--overwrite", "--out", url, status=1)
    assert "no permission to delete" in line
