"""``python -m tests.hostile.limited``: a server that runs commands with bounded memory, each in a fork of itself.

It has loaded all commands, which saves two seconds of processor time for each of them.
"""

import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

from tests.faults.forked import Server, serve

MEMORY = 1 << 30  # bytes more than the imports use
PATIENCE = 60  # seconds for a command that must not hang


class Done(NamedTuple):
    """The exit status of a command, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Limited(Server):
    """The server, as a context manager, and its client."""

    def __init__(self) -> None:
        super().__init__("tests.hostile.limited")

    def run(self, command: str, *arguments: object) -> Done:
        """Runs ``verify``, ``repair`` or ``report``. The status is -9 if it did not end in time."""
        return Done(*self.ask(command=command, arguments=[*map(str, arguments)]))


def _load() -> None:
    import matplotlib.figure
    import numba
    import zarr

    import pipeline.execution.rebuild
    import pipeline.report.__main__
    import pipeline.verification.shards

    assert all((matplotlib.figure, numba, zarr, pipeline))


def _answer(command: str, arguments: list[str]) -> Done:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _run(command, arguments, out, err)
        deadline = time.monotonic() + PATIENCE
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        texts = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in (out, err)]
        return Done(os.waitstatus_to_exitcode(ended[1]), *texts)


def _run(command: str, arguments: list[str], out: IO[bytes], err: IO[bytes]) -> NoReturn:
    import pipeline.repair
    import pipeline.report.__main__
    import pipeline.verify

    mains = {"verify": pipeline.verify.main, "repair": pipeline.repair.main, "report": pipeline.report.__main__.main}
    status = -1
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
        status = mains[command](arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(_answer, _load)
