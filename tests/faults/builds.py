"""Runs builds as real processes that can be killed, and checks what they leave: files and processes."""

import atexit
import contextlib
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.faults.failing_disk import FailingDisk
from tests.faults.processes import Process, parent, session
from tests.memory import folder_in_memory

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds; a wait that lasts longer is a failure

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20")
SHARDS = 108
SMALL = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20", "--limit", "40")

MEMORY = folder_in_memory(2**29)

Files = dict[str, str]


class Ended(NamedTuple):
    """The exit status of a build, its output, and the seconds that the test waited for its end."""

    status: int
    out: str
    err: str
    seconds: float


class Build:
    """A build in its own session. Use it as a context manager, which kills its remaining processes at the end.

    Args:
        arguments: of ``python -m pipeline.build``; ``--quiet`` is added, so that only faults are reported.
        prelude: Python statements to run in the process first.
    """

    def __init__(self, *arguments: object, out: Path, prelude: str = "") -> None:
        self.out = out
        options = [*map(str, arguments), "--out", str(out), "--quiet"]
        how = ["-m", "pipeline.build"]
        if prelude:
            how = ["-c", f"import sys\n{prelude}\nfrom pipeline.build import main\nsys.exit(main())"]
        self._folder = Path(tempfile.mkdtemp(prefix="fault-", dir="/tmp"))  # Ray's socket names must be short
        with (self._folder / "out").open("wb") as stdout, (self._folder / "err").open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *how, *options],
                cwd=ROOT,
                env=os.environ | {"RAY_TMPDIR": str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )

    def __enter__(self) -> "Build":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._kill_all()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def processes(self) -> list[Process]:
        """Returns the living processes of the build's session. Ray's processes stay in it when their parents end."""
        return [process for process in session(self.pid) if process.state not in "ZX"]

    def workers(self) -> list[int]:
        """Returns the ids of Ray's workers that build a shard."""
        return [process.pid for process in self.processes() if process.title.startswith("ray::shard ")]

    def raylet(self) -> int:
        """Returns the id of Ray's server on this node."""
        return self.process("raylet/raylet ")

    def process(self, title: str) -> int:
        """Returns the id of the process whose command line contains this text."""
        return next(process.pid for process in self.processes() if title in process.title)

    def some_worker(self, chance: random.Random) -> int:
        """Waits for workers that build a shard, and returns the id of a random one."""
        workers: list[int] = []

        def any_there() -> bool:
            workers[:] = self.workers()
            return bool(workers)

        self.wait_for(any_there, pause=0.005)
        return chance.choice(workers)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the driver."""
        os.kill(self.pid, number)

    def press_ctrl_c(self) -> None:
        """Sends SIGINT to the whole process group, as a terminal does."""
        os.killpg(self.pid, signal.SIGINT)

    def wait_for(self, condition: Callable[[], bool], pause: float = 0.001) -> None:
        """Waits until a condition holds. Fails if the build ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, f"the build ended too early, with {self.end()}"
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(pause)

    def wait_for_commits(self, count: int) -> None:
        self.wait_for(lambda: committed(self.out) >= count)

    def stop_orphan(self, writes: Callable[[int], bool]) -> int | None:
        """Kills the driver, and stops a worker that outlives it. Returns the worker if it was writing a shard.

        The order matters: the kernel ends a worker that is stopped already together with Ray's server (SIGHUP to
        orphaned process groups).
        """
        self.wait_for(lambda: any(map(writes, self.workers())))
        orphan = next(filter(writes, self.workers()))
        server = parent(orphan)
        self.send(signal.SIGKILL)
        self.end()
        with contextlib.suppress(OSError):  # it is gone
            while parent(orphan) == server:
                time.sleep(0.001)
            os.kill(orphan, signal.SIGSTOP)
            while self._state(orphan) not in ("T", ""):
                time.sleep(0.001)
        return orphan if self._state(orphan) and writes(orphan) else None

    def wake(self, orphan: int) -> None:
        """Continues a stopped worker, which must end because it has no driver."""
        assert self._state(orphan) == "T"
        os.kill(orphan, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while self._state(orphan) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self._state(orphan), "a worker without a driver must end"

    def _state(self, pid: int) -> str:
        return next((process.state for process in self.processes() if process.pid == pid), "")

    def errors(self) -> str:
        """Returns what the build has written to stderr until now."""
        return (self._folder / "err").read_text()

    def end(self, within: float = PATIENCE) -> Ended:
        """Waits for the end of the driver."""
        start = time.monotonic()
        status = self._process.wait(within)
        took = time.monotonic() - start
        return Ended(status, (self._folder / "out").read_text(), self.errors(), took)

    def _kill_all(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while left := self.processes():
            assert time.monotonic() < deadline, f"cannot kill {left}"
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
        self._process.wait()


@contextlib.contextmanager
def orphaned(start: Callable[[], Build], writes: Callable[[int], bool]) -> Iterator[tuple[Build, int]]:
    """Yields a build whose driver is dead, and its worker that was stopped while it wrote a shard.

    Args:
        start: starts the build; called again if the worker had just ended its shard, or itself.
        writes: returns whether the process with this id writes a shard.
    """
    for _ in range(10):
        with start() as build:
            if orphan := build.stop_orphan(writes):
                yield build, orphan
                return
    raise AssertionError("no worker was in the midst of a shard when it was stopped")


def run(*arguments: object, out: Path, prelude: str = "") -> Ended:
    """Runs a build from beginning to end."""
    with Build(*arguments, out=out, prelude=prelude) as build:
        return build.end()


def completes(*arguments: object, out: Path) -> None:
    """Runs a build that must succeed without output, and leave exactly what an undisturbed build leaves."""
    words = [str(argument) for argument in arguments]
    if words[-2:] == ["--workers", "0"]:
        ends_well_in_a_fork(*words[:-2], out=out)
    else:
        ended = run(*words, out=out)
        assert (ended.status, ended.err) == (0, ""), ended
    assert_undisturbed(*words, out=out)


def assert_undisturbed(*arguments: object, out: Path) -> None:
    """Checks that the output is that of the same command in an empty folder, and that nothing of a dead run is left."""
    plain = [str(argument) for argument in arguments]
    if "--workers" in plain:
        del plain[plain.index("--workers") :][:2]
    assert hashes(out) == undisturbed(*plain)
    assert scratch(out) == []


@functools.cache
def undisturbed(*arguments: str) -> Files:
    """Returns the hashes of the files of an undisturbed build without workers. Each command is built once."""
    with tempfile.TemporaryDirectory(prefix="fault-", dir=MEMORY) as folder:
        ends_well_in_a_fork(*arguments, out=Path(folder) / "out")
        return hashes(Path(folder) / "out")


def ends_well_in_a_fork(*arguments: str, out: Path) -> None:
    """Runs a build in a fork of a process that has loaded all modules, which saves two seconds of processor time."""
    assert _server().build(*arguments, out=out)[:2] == (0, "")


def status_in_a_fork(*arguments: str, out: Path) -> int:
    """Runs a build in the same way, and returns its exit status."""
    return _server().build(*arguments, out=out).status


@functools.cache
def _server() -> FailingDisk:
    """Returns a server of builds that ends with this process."""
    server = FailingDisk().__enter__()
    atexit.register(server.__exit__, None, None, None)
    assert isinstance(server, FailingDisk)
    return server


def hashes(out: Path) -> Files:
    """Returns the SHA-256 of every file of an output by name, without ``.build``."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != ".build"
    }


def committed(out: Path) -> int:
    """Returns how many shards have a record."""
    try:
        return len(os.listdir(out / ".build" / "records"))
    except FileNotFoundError:
        return 0


def scratch(out: Path) -> list[str]:
    """Returns the files in ``.build`` that a finished build does not leave there."""
    usual = {"driver", "writers", "job.json", "runs.jsonl", "tmp", "records", "index", "error.txt"}
    left = [path.name for path in (out / ".build").iterdir() if path.name not in usual]
    return sorted(left + [f"tmp/{path.name}" for path in (out / ".build" / "tmp").iterdir()])


def assert_manifest_holds(out: Path) -> None:
    """Checks that all files in the manifest, if there is one, exist and have the right hash."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        return
    try:
        listed = json.loads(manifest.read_bytes())["files"]
    except ValueError:
        raise AssertionError("the manifest is cut off") from None
    actual = hashes(out)
    wrong = [name for name, file in listed.items() if actual.get(name) != file["sha256"]]
    assert not wrong, f"the manifest lists {wrong}, which are missing or wrong"


def assert_nothing_partial(out: Path, *arguments: str) -> None:
    """Checks that all files outside ``.build`` are complete files of the finished output, and the manifest is not false."""
    whole = undisturbed(*arguments)
    actual = hashes(out)
    assert {name: whole.get(name) for name in actual} == actual
    assert_manifest_holds(out)


def one_line(ended: Ended) -> str:
    """Returns the error of a failed build: its only line after those that begin with ``trying again``."""
    *before, last = ended.err.splitlines()
    assert all(line.startswith("trying again: ") for line in before), ended.err
    assert last.startswith("error: "), ended.err
    assert (ended.status, ended.out) == (1, "")
    return last.removeprefix("error: ")


def _heed_interrupts() -> None:
    """Restores Ctrl-C, which processes ignore if the test suite was started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
