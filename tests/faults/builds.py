"""Builds as real processes that can be killed, and what they leave on the disk and among the processes."""

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

from tests.faults.processes import Process, parent, session

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds; a wait that lasts longer is a failure

JOB = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20")
SHARDS = 108
SMALL = ("--dataset", "sample", "--ranks", "3", "--samples-per-shard", "20", "--limit", "40")

_SHM = Path("/dev/shm")
_ROOM = 2**29  # bytes
MEMORY = _SHM if os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free > _ROOM else None

Files = dict[str, str]


class Ended(NamedTuple):
    """What a build did: its exit status, what it wrote, and how long it took from the moment that it was waited for."""

    status: int
    out: str
    err: str
    seconds: float


class Build:
    """A build in a session of its own. Use as a context manager: whatever is left of it is killed at the end.

    Args:
        arguments: of ``python -m pipeline.build``; ``--quiet`` is added, so that only faults are told.
        prelude: Python statements to run in the process first.
    """

    def __init__(self, *arguments: object, out: Path, prelude: str = "") -> None:
        self.out = out
        given = [*map(str, arguments), "--out", str(out), "--quiet"]
        how = ["-m", "pipeline.build"]
        if prelude:
            how = ["-c", f"import sys\n{prelude}\nfrom pipeline.build import main\nsys.exit(main())"]
        self._folder = Path(tempfile.mkdtemp(prefix="fault-", dir="/tmp"))  # Ray's socket names must be short
        with (self._folder / "out").open("wb") as stdout, (self._folder / "err").open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *how, *given],
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
        """Every living process of the build's session; Ray's stay in it when their parents are gone."""
        return [process for process in session(self.pid) if process.state not in "ZX"]

    def workers(self) -> list[int]:
        """Ray's workers that have a shard in work."""
        return [process.pid for process in self.processes() if process.title.startswith("ray::attempt")]

    def raylet(self) -> int:
        """Ray's server of this node."""
        return self.process("raylet/raylet ")

    def process(self, title: str) -> int:
        """The one whose command line holds this text."""
        return next(process.pid for process in self.processes() if title in process.title)

    def some_worker(self, chance: random.Random) -> int:
        """One of those that have a shard in work, as soon as there are any."""
        found: list[int] = []

        def any_there() -> bool:
            found[:] = self.workers()
            return bool(found)

        self.wait_for(any_there)
        return chance.choice(found)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the driver."""
        os.kill(self.pid, number)

    def press_ctrl_c(self) -> None:
        """As a terminal does: to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait_for(self, what: Callable[[], bool], pause: float = 0.001) -> None:
        """Wait until something holds. Fails when the build ends before."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert self._process.poll() is None, f"the build ended too early, with {self.end()}"
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(pause)

    def wait_for_commits(self, count: int) -> None:
        self.wait_for(lambda: committed(self.out) >= count)

    def stop_orphan(self, writes: Callable[[int], bool]) -> int | None:
        """Kill the driver, and stop a worker that outlives it; gives that, if it was in the midst of writing a shard.

        In this order: a worker that is stopped already is ended by the kernel together with Ray's server (SIGHUP to
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
        """Lets a stopped worker go on, which has to end, as it has no driver."""
        assert self._state(orphan) == "T"
        os.kill(orphan, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while self._state(orphan) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self._state(orphan), "a worker without a driver must end"

    def _state(self, pid: int) -> str:
        return next((process.state for process in self.processes() if process.pid == pid), "")

    def end(self, within: float = PATIENCE) -> Ended:
        """Wait for the driver's end."""
        start = time.monotonic()
        status = self._process.wait(within)
        took = time.monotonic() - start
        return Ended(status, (self._folder / "out").read_text(), (self._folder / "err").read_text(), took)

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
    """A build whose driver is dead, and a worker of it that was stopped while it wrote a shard.

    Args:
        start: the build, begun anew where the worker had just ended its shard, or itself.
        writes: whether a process, given by its number, is writing a shard.
    """
    for _ in range(10):
        with start() as build:
            if orphan := build.stop_orphan(writes):
                yield build, orphan
                return
    raise AssertionError("no worker was in the midst of a shard when it was stopped")


def run(*arguments: object, out: Path, prelude: str = "") -> Ended:
    """A build from beginning to end."""
    with Build(*arguments, out=out, prelude=prelude) as build:
        return build.end()


def completes(*arguments: object, out: Path) -> Ended:
    """A build that must end well, say nothing, and leave exactly what an undisturbed one leaves."""
    ended = run(*arguments, out=out)
    assert (ended.status, ended.err) == (0, ""), ended
    assert_undisturbed(*arguments, out=out)
    return ended


def assert_undisturbed(*arguments: object, out: Path) -> None:
    """The output is that of the same command in an empty folder, and nothing of a dead run is left."""
    plain = [str(argument) for argument in arguments]
    if "--workers" in plain:
        del plain[plain.index("--workers") :][:2]
    assert hashes(out) == undisturbed(*plain)
    assert scratch(out) == []


@functools.cache
def undisturbed(*arguments: str) -> Files:
    """The hashes of an undisturbed build's files, in one process."""
    with tempfile.TemporaryDirectory(prefix="fault-", dir=MEMORY) as folder:
        ended = run(*arguments, "--workers", 0, out=Path(folder) / "out")
        assert (ended.status, ended.err) == (0, ""), ended
        return hashes(Path(folder) / "out")


def hashes(out: Path) -> Files:
    """SHA-256 of every file of an output by its name, ``.build`` left out."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != ".build"
    }


def committed(out: Path) -> int:
    """How many shards have a record."""
    try:
        return len(os.listdir(out / ".build" / "records"))
    except FileNotFoundError:
        return 0


def scratch(out: Path) -> list[str]:
    """What lies in ``.build`` beyond what every build leaves there."""
    usual = {"driver", "writers", "job.json", "runs.jsonl", "tmp", "records", "index", "error.txt"}
    left = [path.name for path in (out / ".build").iterdir() if path.name not in usual]
    return sorted(left + [f"tmp/{path.name}" for path in (out / ".build" / "tmp").iterdir()])


def assert_manifest_holds(out: Path) -> None:
    """Where there is a manifest, everything that it lists is there and right."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        return
    try:
        listed = json.loads(manifest.read_bytes())["files"]
    except ValueError:
        raise AssertionError("the manifest is cut off") from None
    found = hashes(out)
    wrong = [name for name, file in listed.items() if found.get(name) != file["sha256"]]
    assert not wrong, f"the manifest lists {wrong}, which are missing or wrong"


def assert_nothing_partial(out: Path, *arguments: str) -> None:
    """Whatever is visible outside ``.build`` is a whole file of the finished output; and there is no false manifest."""
    whole = undisturbed(*arguments)
    found = hashes(out)
    assert {name: whole.get(name) for name in found} == found
    assert_manifest_holds(out)


def one_line(ended: Ended) -> str:
    """The one line, after ``trying again`` ones, that a failed build ends in."""
    *before, last = ended.err.splitlines()
    assert all(line.startswith("trying again: ") for line in before), ended.err
    assert last.startswith("error: "), ended.err
    assert (ended.status, ended.out) == (1, "")
    return last.removeprefix("error: ")


def _heed_interrupts() -> None:
    """A test suite that was started in the background passes on to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
