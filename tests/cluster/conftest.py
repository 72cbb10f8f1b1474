"""Clusters on this machine, each in its own session, which leave no processes or files behind."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.builds import undisturbed
from tests.liveness.conftest import release, trapped  # noqa: F401  # fixtures

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _outside_of_any_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_ray(monkeypatch)


def _forget_ray(patch: pytest.MonkeyPatch) -> None:
    """Removes Ray's variables from the environment."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        patch.delenv(name)


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """Returns a folder with a short name, which Ray's sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def compiled() -> None:
    """Builds here once, so that drivers send compiled code to their nodes, which would compile it in each worker."""
    undisturbed("--dataset", "sample", "--ranks", "3", "--limit", "2")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Returns the environment of Ray's commands: files under ``folder``, no token, no usage statistics."""
    usual = {
        "TMPDIR": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    return os.environ | usual | {"PATH": f"{BIN}:{os.environ['PATH']}"} | more


def copy_of_the_project(folder: Path) -> Path:
    project = folder / "project"
    for name in ("pipeline", "manifests", "jobs"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project / name)
    return project


class Nodes:
    """A process that runs ``nodes.py``."""

    def __init__(self, folder: Path, count: int, cpus: int, memory: int, token: str) -> None:
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nodes.py")), str(count), str(cpus), str(memory)],
            env=os.environ | {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"} | secret,
            cwd="/",  # so that the nodes do not import the project from the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.address = self._line()

    def tell(self, command: str) -> str:
        """Sends a command and returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._line()

    def behead(self) -> None:
        """Kills the server of the head (GCS)."""
        for pid in _session(self._process.pid):
            with contextlib.suppress(OSError):
                if "gcs_server" in Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]:
                    os.kill(pid, signal.SIGKILL)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        end_session(self._process.pid)
        self._process.wait()
        self._process.stdout.close()


def end_session(leader: int) -> None:
    """Kills the remaining processes of the session that a process leads."""
    deadline = time.monotonic() + 20
    while (left := _session(leader)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _session(leader: int) -> list[int]:
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, _, _, session = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                pids.append(int(name))
    return pids


def children(parent: int) -> list[str]:
    """Returns the command lines of the children of a process."""
    titles = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == parent:
                titles.append(Path(f"/proc/{name}/cmdline").read_text().replace("\0", " "))
    return titles


@pytest.fixture
def nodes(short_tmp: Path, compiled: None) -> Iterator[Callable[..., Nodes]]:
    """Starts a cluster: ``nodes(count=3, cpus=1, memory=bytes of each, token="")``."""
    started = []

    def start(count: int = 3, cpus: int = 1, memory: int = 2**30, token: str = "") -> Nodes:
        started.append(Nodes(short_tmp, count, cpus, memory, token))
        return started[-1]

    yield start
    for cluster in started:
        cluster.end()


@pytest.fixture(scope="package")
def one_node(short_tmp: Path, compiled: None) -> Iterator[Nodes]:
    """A cluster of one node for all tests that only join it and leave it."""
    cluster = _one_node(short_tmp, memory=2**30)
    yield cluster
    cluster.end()


@pytest.fixture(scope="package")
def small_node(short_tmp: Path) -> Iterator[Nodes]:
    """A cluster of one node that has not enough memory for a shard."""
    cluster = _one_node(short_tmp, memory=300 * 2**20)
    yield cluster
    cluster.end()


def _one_node(folder: Path, memory: int) -> Nodes:
    with pytest.MonkeyPatch.context() as patch:
        _forget_ray(patch)
        return Nodes(folder, 1, 1, memory, "")
