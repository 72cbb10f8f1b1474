"""Runs builds in forked processes whose file system fails, or whose machine stops, at the N-th operation.

``python -m tests.faults.failing_disk`` is a server that forks a build for each request. Operations are those of
``operations.py``, anywhere in the output. The fault comes before the operation, or after half of a write.
"""

import contextlib
import errno
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults.forked import ENVIRONMENT, Forked, Server, serve
from tests.faults.mutants import MUTANTS
from tests.faults.operations import Operation, watch

# What happens at the N-th operation.
NOTHING = "nothing"
KILL = "kill"  # SIGKILL: what was written stays, because the kernel continues
FULL = "full"  # from this operation on, the disk is full
EIO = "eio"  # only this operation fails
DIED = -signal.SIGKILL


class Result(NamedTuple):
    """The exit status of a build (``DIED`` if it was killed), its stderr, and the number of its operations."""

    status: int
    err: str
    operations: int


class FailingDisk(Server):
    """The server, as a context manager, and its client."""

    def __init__(self) -> None:
        super().__init__("tests.faults.failing_disk", ENVIRONMENT)

    def build(self, *arguments: object, out: Path, fault: str = NOTHING, at: int = 0) -> Result:
        """Runs a build without workers, with a fault at operation number ``at``, counted from 1."""
        return Result(*self.ask(arguments=[*map(str, arguments)], out=str(out), fault=fault, at=at))

    def repair(self, out: Path, fault: str = NOTHING, at: int = 0) -> Result:
        """Runs a repair in the same way."""
        return Result(*self.ask(arguments=[], out=str(out), fault=fault, at=at, command="repair"))

    def trace(self, *arguments: object, out: Path, mutant: str = "") -> tuple[Result, list[Operation]]:
        """Runs an undisturbed build, or a mutant of it. Returns also its operations in the folder that contains ``out``."""
        with tempfile.NamedTemporaryFile() as file:
            asked = self.ask(arguments=[*map(str, arguments)], out=str(out), trace=file.name, mutant=mutant)
            return Result(*asked), pickle.load(file)


class Disk:
    """Counts the operations below a folder, and makes one of them fail."""

    def __init__(self, root: Path, fault: str, at: int, counted: Callable[[int], object] = lambda count: None) -> None:
        self._root, self._fault, self._at, self._counted = str(root), fault, at, counted
        self._count, self._lock = 0, threading.RLock()

    def install(self) -> None:
        watch(self._root, self._around)

    @contextlib.contextmanager
    def _around(self, operation: Operation, half: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._count += 1
            self._counted(self._count)
            if self._falls(operation):
                half()
                if self._fault == KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                number = errno.EIO if self._fault == EIO else errno.ENOSPC
                raise OSError(number, os.strerror(number))
            yield

    def _falls(self, operation: Operation) -> bool:
        if self._fault == FULL:
            return self._count >= self._at and operation.grows
        return self._fault != NOTHING and self._count == self._at


class _Recorder:
    """Records the operations that succeed, in a file that is complete after each build."""

    def __init__(self, root: Path, file: str) -> None:
        self._root, self._file, self._lock = root, file, threading.RLock()
        self._done: list[Operation] = []

    def install(self) -> None:
        watch(str(self._root), self._around)

    def save(self) -> None:
        Path(self._file).write_bytes(pickle.dumps(self._done))

    @contextlib.contextmanager
    def _around(self, operation: Operation, half: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            yield
            self._done.append(operation)


def _answer(
    arguments: list[str],
    out: str,
    fault: str = NOTHING,
    at: int = 0,
    trace: str = "",
    mutant: str = "",
    command: str = "build",
) -> Result:
    with tempfile.TemporaryFile() as count:
        number = count.fileno()

        def counted(operations: int) -> None:
            os.pwrite(number, b"%d" % operations, 0)

        def prepare() -> Callable[[], None] | None:
            time.sleep = lambda seconds: None  # between tries
            MUTANTS[mutant]()
            if not trace:
                Disk(Path(out), fault, at, counted).install()
                return None
            recorder = _Recorder(Path(out).parent, trace)
            recorder.install()
            return recorder.save

        done = Forked(arguments, out, prepare, command).end()
        count.seek(0)
        return Result(done.status, done.err, int(count.read() or 0))


if __name__ == "__main__":
    serve(_answer)
