"""Builds to object storage in forked processes, each killed at its N-th request that changes something.

``python -m tests.unit.storage.failing_wire`` is a server that forks one process per build; its environment names the S3
server. The process is killed before it sends the request, or after the server has executed it.
"""

import os
import signal
import tempfile
import threading
from typing import Any, NamedTuple

from tests.faults.forked import Forked, Server, serve

BEFORE, AFTER = "before", "after"
_PART = 2**14  # bytes: so that small shards, too, go up in parts


class Result(NamedTuple):
    """Exit status, stderr, and the number of requests that change something, up to a kill."""

    status: int
    err: str
    requests: int


class FailingWire(Server):
    """The server as a context manager, and its client."""

    def __init__(self) -> None:
        super().__init__("tests.unit.storage.failing_wire")

    def build(self, *arguments: str, url: str, at: int = 0, when: str = BEFORE) -> Result:
        """Runs a build in one process, killed at its request number ``at``, counted from 1."""
        return Result(*self.ask(arguments=arguments, url=url, at=at, when=when))


class _Wire:
    def __init__(self, at: int, when: str, count: int) -> None:
        self._at, self._when, self._file, self._count = at, when, count, 0
        self._lock = threading.Lock()

    def install(self) -> None:
        from aiobotocore.httpsession import AIOHTTPSession  # type: ignore[import-untyped]

        real = AIOHTTPSession.send

        async def send(session: Any, request: Any) -> Any:
            if request.method not in ("PUT", "POST", "DELETE"):
                return await real(session, request)
            with self._lock:
                self._count += 1
                number = self._count
                os.pwrite(self._file, b"%d" % number, 0)
            if number == self._at and self._when == BEFORE:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = await real(session, request)
            if number == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        AIOHTTPSession.send = send


def _answer(arguments: list[str], url: str, at: int, when: str) -> Result:
    with tempfile.TemporaryFile() as count:

        def prepare() -> None:
            from pipeline.storage import bucket, lock

            lock.HEARTBEAT, bucket._PART = 0.15, _PART
            _Wire(at, when, count.fileno()).install()

        done = Forked(arguments, url, prepare).end()
        count.seek(0)
        return Result(done.status, done.err, int(count.read() or 0))


if __name__ == "__main__":
    import s3fs  # noqa: F401  before the forks

    serve(_answer)
