"""Runs builds in forks of a process that has loaded everything, so that they begin within milliseconds.

This process is the test's own, or a server: a module whose ``serve`` answers each line of JSON with another.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[2]


# That of the session, without what a test sets: many tests use a server, and it outlives the one that starts it.
ENVIRONMENT = dict(os.environ)

Prepare = Callable[[], Callable[[], object] | None]


class Done(NamedTuple):
    """The exit status of a fork (-9 after SIGKILL), and its stderr."""

    status: int
    err: str


class Forked:
    """A command in its own process, without Ray. Call ``warm_up`` once before.

    Args:
        arguments: of the command; ``--workers`` with the number for one process, and ``--quiet`` of a build, are added.
        out: the output's folder.
        prepare: called in the new process before the command; what it returns, if anything, is called after it.
        command: ``build``, ``repair`` or ``verify``.
    """

    def __init__(
        self, arguments: Sequence[str], out: Path | str, prepare: Prepare = lambda: None, command: str = "build"
    ) -> None:
        self._err = tempfile.TemporaryFile()  # noqa: SIM115  closed by ``end``
        self.pid = os.fork()
        if self.pid == 0:
            named = ["--out", str(out), "--quiet"] if command == "build" else [str(out)]
            workers = "1" if command == "verify" else "0"
            self._run(command, [*arguments, "--workers", workers, *named], prepare)
        self._status: int | None = None

    def alive(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is None

    def kill(self) -> None:
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)

    def send_after(self, seconds: float, number: int) -> None:
        """Sends a signal after so many seconds, unless the process ends before."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() >= deadline:
                os.kill(self.pid, number)
                return
            time.sleep(0.001)

    def end(self) -> Done:
        """Waits for the end."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self._err:
            self._err.seek(0)
            return Done(self._status, self._err.read().decode())

    def _run(self, command: str, arguments: list[str], prepare: Prepare) -> NoReturn:
        main = importlib.import_module(f"pipeline.{command}").main
        os.dup2(self._err.fileno(), 1)
        os.dup2(self._err.fileno(), 2)
        status = -1
        try:
            after = prepare()
            status = main(arguments)
            if after:
                after()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


class Server:
    """A server, as a context manager, and its client.

    Args:
        module: of the server.
        environment: of its process; default: that of this process when the server starts.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        self._module, self._environment = module, environment

    def __enter__(self) -> Any:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin
        assert self._process.stdout
        if kind is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, **request: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve(answer: Callable[..., object], load: Callable[[], None] | None = None) -> None:
    """Loads what the answers need (default: ``warm_up``), and answers requests until the client ends."""
    (load or warm_up)()
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def warm_up() -> None:
    """Loads all modules and the photographs of the sample into this process."""
    from pipeline.build import main

    with tempfile.TemporaryDirectory() as folder:
        job = "--dataset sample --ranks 3 --limit 2 --workers 0 --exact --factors --quiet --out"
        assert main([*job.split(), f"{folder}/out"]) == 0
