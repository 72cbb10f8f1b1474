"""``fetch`` against a real server on this machine: the right file, or no file and one line that says what to do."""

import errno
import hashlib
import http.server
import multiprocessing
import os
import random
import socket
import threading

import pytest

from pipeline.errors import PipelineError
from pipeline.sources import download
from pipeline.sources.download import TRIES, Download, fetch, stderr_report

CONTENT = random.Random(0).randbytes(
    3_000_000
)  # the same in all processes of pytest-xdist, as a test is named after it
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Sends prepared answers, the last one repeatedly.

    Attributes:
        answers: (status, Content-Length, content) of each request.
        extra: further headers of every answer.
        requests: headers of the requests that came.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [(200, len(CONTENT), CONTENT)]
        self.extra = {}
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.tar.gz"

    def handle_error(self, *_):
        """A client that hangs up is expected."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        number = min(len(self.server.requests), len(self.server.answers) - 1)
        self.server.requests.append(dict(self.headers))
        status, length, content = self.server.answers[number]
        self.send_response(status)
        headers = {} if length is None else {"Content-Length": str(length)}
        for name, value in (headers | self.server.extra).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(server, folder, report=lambda received, total: None, timeout=5.0):
    download = Download(server.url, len(CONTENT), MD5, pause=0.001, timeout=timeout)
    fetch(download, folder / "file.tar.gz", report)


def fails(server, folder, line, **options):
    with pytest.raises(PipelineError, match=line) as caught:
        get(server, folder, **options)
    text = str(caught.value)
    assert "\n" not in text and server.url in text
    assert f"put file.tar.gz into {folder} yourself, or give --data-dir the folder that holds it" in text
    assert os.listdir(folder) == []


def test_the_file_arrives_whole_with_its_progress(server, tmp_path):
    progress = []
    get(server, tmp_path / "new" / "cache", lambda received, total: progress.append((received, total)))
    assert (tmp_path / "new/cache/file.tar.gz").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new/cache") == ["file.tar.gz"]
    assert progress == sorted(progress) and progress[-1] == (len(CONTENT), len(CONTENT)) and len(server.requests) == 1


@pytest.mark.parametrize(
    "bad",
    [
        (200, len(CONTENT), CONTENT[:1_000_000]),  # the line breaks half way
        (200, None, CONTENT[:1_000_000]),  # the same, and no length was promised
        (200, 10, CONTENT[:10]),  # a proxy's page
        (503, 0, b""),
        (429, 0, b""),
    ],
)
def test_a_failure_that_may_pass_is_tried_again(server, tmp_path, bad):
    server.answers = [bad, bad, (200, len(CONTENT), CONTENT)]
    get(server, tmp_path)
    assert (tmp_path / "file.tar.gz").read_bytes() == CONTENT and len(server.requests) == 3


def test_a_server_that_always_cuts_off_is_given_up(server, tmp_path):
    server.answers = [(200, len(CONTENT), CONTENT[:1000])]
    fails(server, tmp_path, "the connection ended after 1,000 of 3,000,000 bytes")
    assert len(server.requests) == TRIES


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((404, 0, b""), "the server answered 404"),
        ((403, 0, b""), "the server answered 403"),
        ((200, len(CONTENT), bytes(len(CONTENT))), f"its MD5 is [0-9a-f]{{32}}, .*{MD5}"),
        ((200, len(CONTENT) + 1, CONTENT + b"!"), "it is larger than the official 3,000,000 bytes"),
        ((200, None, CONTENT * 20), "it is larger than the official 3,000,000 bytes"),
    ],
)
def test_a_failure_that_stays_is_not_tried_again(server, tmp_path, answer, line):
    server.answers = [answer]
    fails(server, tmp_path, line)
    assert len(server.requests) == 1


def test_a_refused_connection_is_named(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.tar.gz"
    fails(server, tmp_path, "Connection refused")


def test_a_name_that_does_not_resolve_is_an_error(server, tmp_path):
    server.url = "http://no-such-host.invalid/file.tar.gz"
    fails(server, tmp_path, "cannot be downloaded")


def test_a_silent_server_is_given_up(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.tar.gz"
        fails(server, tmp_path, "timed out", timeout=0.05)


def test_an_answer_that_is_not_http_is_named(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server.url = f"http://127.0.0.1:{other.getsockname()[1]}/file.tar.gz"

        def answer():
            for _ in range(TRIES):
                connection, _ = other.accept()
                connection.recv(1000)
                connection.sendall(b"\x00\x01\x02 no http\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        fails(server, tmp_path, "the server does not answer in HTTP")
        thread.join()


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="cannot be written: .*; set XDG_CACHE_HOME, or put"):
        get(server, tmp_path / "file")


def test_an_interrupt_leaves_nothing_behind(server, tmp_path):
    def interrupt(received, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path, interrupt)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named_and_leaves_nothing_behind(server, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(PipelineError, match="cannot be written: No space left on device"):
        get(server, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_redirect_is_followed(server, tmp_path):
    server.answers = [(302, 0, b""), (200, len(CONTENT), CONTENT)]
    server.extra = {"Location": "/elsewhere"}
    get(server, tmp_path)
    assert (tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_a_server_that_redirects_in_a_circle_is_an_error(server, tmp_path):
    server.answers = [(302, 0, b"")]
    server.extra = {"Location": "/file.tar.gz"}
    fails(server, tmp_path, "the server answered 302")


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/file.tar.gz"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.url = "http://no-such-host.invalid/file.tar.gz"
    get(server, tmp_path)
    assert server.requests[0]["Host"] == "no-such-host.invalid"


def test_no_credentials_are_sent(server, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    get(server, tmp_path / "cache")
    assert "Authorization" not in server.requests[0]


def test_an_archive_that_is_labelled_as_a_compressed_page_stays_packed(server, tmp_path):
    server.extra = {"Content-Encoding": "x-gzip"}  # as Apache labels .gz files
    get(server, tmp_path)
    assert (tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_others_may_read_the_file_as_the_umask_says(server, tmp_path):
    before = os.umask(0o022)
    try:
        get(server, tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "file.tar.gz").stat().st_mode & 0o777 == 0o644


def test_two_processes_may_download_at_once(server, tmp_path):
    children = [multiprocessing.get_context("fork").Process(target=get, args=(server, tmp_path)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert os.listdir(tmp_path) == ["file.tar.gz"] and (tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_progress_is_a_plain_line_now_and_then_without_a_terminal(capsys):
    report = stderr_report("file.tar.gz")
    for received in range(0, 1_000_001, 1000):
        report(received, 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11 and lines[-1] == "file.tar.gz: 1 of 1 MB"


def test_progress_is_one_line_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(download.sys.stderr, "isatty", lambda: True, raising=False)
    report = stderr_report("file.tar.gz")
    for received in range(0, 1_000_001, 1000):
        report(received, 1_000_000)
    assert capsys.readouterr().err.count("\n") == 1
