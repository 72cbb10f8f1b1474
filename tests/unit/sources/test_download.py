"""Promises of ``fetch``, against a real server on this machine: the right file, or none and one line that helps."""

import hashlib
import http.server
import os
import socket
import threading

import pytest

from pipeline.errors import PipelineError
from pipeline.sources import download
from pipeline.sources.download import TRIES, fetch, stderr_report

CONTENT = os.urandom(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers as told: a status, the bytes that it promises and those that it sends; the last answer repeats."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [(200, len(CONTENT), CONTENT)]
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}/file.tar.gz"

    def handle_error(self, *_):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, promised, content = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        self.send_response(status)
        if promised is not None:
            self.send_header("Content-Length", str(promised))
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


def get(server, folder, report=lambda done, total: None, timeout=5.0):
    fetch(server.url, folder / "file.tar.gz", len(CONTENT), MD5, report, pause=0.001, timeout=timeout)


def fails(server, folder, line, **options):
    with pytest.raises(PipelineError, match=line) as caught:
        get(server, folder, **options)
    text = str(caught.value)
    assert "\n" not in text and server.url in text
    assert f"put file.tar.gz into {folder} yourself, or give --data-dir the folder that holds it" in text
    assert os.listdir(folder) == []


def test_the_file_arrives_whole_with_its_progress(server, tmp_path):
    told = []
    get(server, tmp_path / "new" / "cache", lambda done, total: told.append((done, total)))
    assert (tmp_path / "new/cache/file.tar.gz").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new/cache") == ["file.tar.gz"]
    assert told == sorted(told) and told[-1] == (len(CONTENT), len(CONTENT)) and server.asked == 1


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
def test_what_passes_is_tried_again(server, tmp_path, bad):
    server.answers = [bad, bad, (200, len(CONTENT), CONTENT)]
    get(server, tmp_path)
    assert (tmp_path / "file.tar.gz").read_bytes() == CONTENT and server.asked == 3


def test_a_server_that_always_cuts_off_is_given_up(server, tmp_path):
    server.answers = [(200, len(CONTENT), CONTENT[:1000])]
    fails(server, tmp_path, "the connection ended after 1,000 of 3,000,000 bytes")
    assert server.asked == TRIES


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((404, 0, b""), "the server answered 404"),
        ((403, 0, b""), "the server answered 403"),
        ((200, len(CONTENT), bytes(len(CONTENT))), f"its MD5 is [0-9a-f]{{32}}, the official one {MD5}"),
        ((200, len(CONTENT) + 1, CONTENT + b"!"), "it is larger than the official 3,000,000 bytes"),
        ((200, None, CONTENT * 20), "it is larger than the official 3,000,000 bytes"),
    ],
)
def test_what_does_not_pass_is_told_at_once(server, tmp_path, answer, line):
    server.answers = [answer]
    fails(server, tmp_path, line)
    assert server.asked == 1


def test_a_refused_connection_is_told(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.tar.gz"
    fails(server, tmp_path, "Connection refused")


def test_a_name_that_does_not_resolve_is_told(server, tmp_path):
    server.url = "http://no-such-host.invalid/file.tar.gz"
    fails(server, tmp_path, "cannot be downloaded")


def test_a_silent_server_is_given_up(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.tar.gz"
        fails(server, tmp_path, "timed out", timeout=0.05)


def test_no_http_is_told(server, tmp_path):
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


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="cannot be written: .*; set XDG_CACHE_HOME, or put"):
        get(server, tmp_path / "file")


def test_an_interrupt_leaves_nothing_behind(server, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path, interrupt)
    assert os.listdir(tmp_path) == []


def test_progress_is_a_plain_line_now_and_then_without_a_terminal(capsys):
    report = stderr_report("file.tar.gz")
    for done in range(0, 1_000_001, 1000):
        report(done, 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11 and lines[-1] == "file.tar.gz: 1 of 1 MB"


def test_progress_is_one_line_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(download.sys.stderr, "isatty", lambda: True, raising=False)
    report = stderr_report("file.tar.gz")
    for done in range(0, 1_000_001, 1000):
        report(done, 1_000_000)
    assert capsys.readouterr().err.count("\n") == 1
