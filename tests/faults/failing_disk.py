"""Builds in forked processes, on a file system that fails, or a machine that stops, at the N-th operation.

``python failing_disk.py`` is a server: it loads everything once, then forks a build for each JSON line that it reads,
and answers with a line. An operation is one system call that changes the disk (create, write, fsync, rename, unlink,
mkdir) anywhere in the output. Deaths and errors come before the operation; of a write, after half of it.
"""

import builtins
import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

# What befalls the build at the N-th operation.
NOTHING = "nothing"
DEATH = "death"  # SIGKILL: what was written stays, since the kernel lives on
FULL = "full"  # from here on, the disk takes nothing new
EIO = "eio"  # this one operation fails
KILL = "kill"  # SIGKILL, for good
# Power lost. What was not synced is cut to half; renames and unlinks of a folder that was not synced are
POWER_KEPT = "power, renames kept"
POWER_LOST = "power, renames lost"
POWER_MIXED = "power, renames of every other folder lost"
DIED = 99


class Result(NamedTuple):
    """How the build ended: exit status (``DIED`` where it died), its standard error, and the number of operations."""

    status: int
    err: str
    operations: int


class FailingDisk:
    """The server as a context manager, and its client."""

    def __enter__(self) -> "FailingDisk":
        root = Path(__file__).resolve().parents[2]
        self._server = subprocess.Popen(
            [sys.executable, __file__], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server.stdin
        assert self._server.stdout
        if kind is not None:
            self._server.kill()
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def build(self, *arguments: object, out: Path, fault: str = NOTHING, at: int = 0) -> Result:
        """A build in one process, on which ``fault`` falls at its operation number ``at``, counted from 1."""
        assert self._server.stdin
        assert self._server.stdout
        given = [*map(str, arguments), "--workers", "0", "--out", str(out), "--quiet"]
        self._server.stdin.write(json.dumps({"arguments": given, "out": str(out), "fault": fault, "at": at}) + "\n")
        self._server.stdin.flush()
        return Result(*json.loads(self._server.stdout.readline()))


class Disk:
    """Counts the operations below a folder, and lets one fail."""

    def __init__(self, root: Path, fault: str, at: int) -> None:
        self.root, self.fault, self.at, self.count = f"{root}/", fault, at, 0
        self._lock = threading.RLock()
        self._unsynced: dict[tuple[int, int], str] = {}  # files by device and inode
        self._undo: dict[str, list[Callable[[], None]]] = defaultdict(list)  # by folder
        self._stash = f"{root}.stash"  # on the same file system, for hard links
        shutil.rmtree(self._stash, ignore_errors=True)
        os.mkdir(self._stash)
        self._real = {name: getattr(os, name) for name in ("replace", "rename", "unlink", "remove", "mkdir", "fsync")}

    def install(self) -> None:
        disk, real_open = self, io.open

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                with disk.operation(grows=True, before=lambda: super(File, self).write(view[: len(view) // 2])):
                    disk.note_write(self.fileno(), str(self.name))
                    return super().write(view)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
            path = os.fspath(file) if not isinstance(file, int) else ""
            if not str(path).startswith(disk.root) or not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, *more, **options)
            with disk.operation(grows=not os.path.exists(path)):
                raw = File(path, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            return io.BufferedWriter(raw) if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw), "utf-8")

        def mkdir(path: Any, *more: Any, **options: Any) -> None:
            with disk.operation(disk.holds(path) and not os.path.exists(path), grows=True):
                disk._real["mkdir"](path, *more, **options)

        os.replace = os.rename = self._replace  # type: ignore[assignment]
        os.unlink = os.remove = self._unlink
        os.fsync, os.mkdir = self._fsync, mkdir  # type: ignore[assignment]
        io.open = builtins.open = opened

    def holds(self, path: Any) -> bool:
        return f"{os.fspath(path)}/".startswith(self.root)

    def operation(
        self, counts: bool = True, grows: bool = False, before: Callable[[], Any] | None = None
    ) -> "_Operation":
        return _Operation(self, counts, grows, before)

    def note_write(self, descriptor: int, path: str) -> None:
        self._unsynced[_inode(os.fstat(descriptor))] = path

    def begin(self, grows: bool, before: Callable[[], Any] | None) -> None:
        self._lock.acquire()
        self.count += 1
        if self.count < self.at or self.fault == NOTHING or (self.count > self.at and self.fault != FULL):
            return
        if self.fault == FULL and not grows:
            return
        if before:
            before()
        if self.fault not in (EIO, FULL):
            self.die()
        self._lock.release()
        number = errno.EIO if self.fault == EIO else errno.ENOSPC
        raise OSError(number, os.strerror(number))

    def end(self) -> None:
        self._lock.release()

    def die(self) -> NoReturn:
        if self.fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault != DEATH:
            self._lose_power()
        os._exit(DIED)

    def _lose_power(self) -> None:
        for number, folder in enumerate(sorted(self._undo)):
            if self.fault == POWER_LOST or (self.fault == POWER_MIXED and number % 2):
                for undo in reversed(self._undo[folder]):
                    with contextlib.suppress(OSError):  # its folder was removed meanwhile: then it stays away
                        undo()
        torn = set(self._unsynced)
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if _inode(os.stat(path)) in torn:
                    os.truncate(path, os.path.getsize(path) // 2)

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        with self.operation(self.holds(path)):  # not really: only the simulated power can fail
            self._unsynced.pop(_inode(os.fstat(descriptor)), None)
            self._undo.pop(path, None)

    def _replace(self, source: Any, target: Any) -> None:
        source, target = os.fspath(source), os.fspath(target)
        with self.operation(self.holds(target)):
            old = self._keep(target)
            self._real["replace"](source, target)

            def undo() -> None:
                self._real["replace"](target, source)
                if old:
                    os.link(old, target)

            self._undo[os.path.dirname(target)].append(undo)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None:  # of a tree: not undone
            with self.operation():
                self._real["unlink"](path, dir_fd=dir_fd)
            return
        path = os.fspath(path)
        if not self.holds(path) or not os.path.lexists(path):
            self._real["unlink"](path)
            return
        with self.operation():
            old = self._keep(path)
            self._real["unlink"](path)
            self._undo[os.path.dirname(path)].append(lambda: os.link(old, path))

    def _keep(self, path: str) -> str:
        if not os.path.lexists(path):
            return ""
        kept = os.path.join(self._stash, str(len(os.listdir(self._stash))))
        os.link(path, kept)
        return kept


class _Operation:
    def __init__(self, disk: Disk, counts: bool, grows: bool, before: Callable[[], Any] | None) -> None:
        self._disk, self._counts, self._grows, self._before = disk, counts, grows, before

    def __enter__(self) -> None:
        if self._counts:
            self._disk.begin(self._grows, self._before)

    def __exit__(self, *_: object) -> None:
        if self._counts:
            self._disk.end()


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _build(arguments: list[str], out: str, fault: str, at: int, err: int, count: int) -> NoReturn:
    import time

    from pipeline.build import main

    os.dup2(err, 1)
    os.dup2(err, 2)
    time.sleep = lambda seconds: None  # between tries
    disk = Disk(Path(out), fault, at)
    disk.install()
    try:
        status = main(arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = -1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os.write(count, str(disk.count).encode())
    os._exit(status)


def _serve() -> None:
    from pipeline.build import main

    with tempfile.TemporaryDirectory() as folder:
        warm = [
            "--dataset",
            "sample",
            "--ranks",
            "3",
            "--limit",
            "2",
            "--workers",
            "0",
            "--quiet",
            "--out",
            f"{folder}/o",
        ]
        assert main(warm) == 0  # all modules and photographs are loaded now
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as count:
            pid = os.fork()
            if pid == 0:
                _build(**request, err=err.fileno(), count=count.fileno())
            _, status = os.waitpid(pid, 0)
            err.seek(0)
            count.seek(0)
            answer = [os.waitstatus_to_exitcode(status), err.read().decode(), int(count.read() or 0)]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
