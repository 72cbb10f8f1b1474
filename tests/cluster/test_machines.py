"""Promises of the job files on machines with stock Debian and an ordinary account: from nothing, and after interruptions."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import copy_of_the_project, environment, free_port
from tests.cluster.machines import ACCOUNT, SHARED, SSHD, Machine, listening, prepare
from tests.faults.builds import assert_undisturbed, committed

pytestmark = [pytest.mark.ray, pytest.mark.full]

JOB = ("--dataset", "sample", "--ranks", "3,5,10,20", "--components", "low,high,full", "--samples-per-shard", "5")
_STEP = 20  # shards between two interruptions


class Cluster:
    """Two machines, and a job file for them in a copy of the project."""

    def __init__(self, folder: Path) -> None:
        prepare(folder)
        self.project, self.folder = copy_of_the_project(folder), folder
        self.machines = [Machine(folder, "head", "127.0.0.2"), Machine(folder, "worker", "127.0.0.3")]
        self.out = folder / "shared" / "out"
        config = self.project / "jobs" / "cifar10.yaml"
        document: dict[str, Any] = yaml.safe_load(config.read_text())
        job = {name.removeprefix("--"): value for name, value in zip(JOB[::2], JOB[1::2], strict=True)}
        port, few = free_port(), "--num-cpus=1 --object-store-memory=100000000"
        replaced = {"--port=6379": f"--port={port} --include-dashboard=false {few}", ":6379": f":{port} {few}"}
        for commands in (document["head_start_ray_commands"], document["worker_start_ray_commands"]):
            for old, new in replaced.items():
                commands[:] = [command.replace(old, new) for command in commands]
        document["setup_commands"] = ["bash ~/rank-shards/jobs/node.sh sample"]  # without its photographs as a download
        document |= {
            "cluster_name": f"machines-{port}",
            "metadata": {"job": job | {"out": str(SHARED / "out")}},
            "provider": {"type": "local", "head_ip": "127.0.0.2", "worker_ips": ["127.0.0.3"]},
            "auth": {"ssh_user": ACCOUNT, "ssh_private_key": str(folder / "user")},
        }
        config.write_text(yaml.safe_dump(document))

    def ray(self, *words: str) -> str:
        """Runs a command of Ray on the user's machine. Returns its output."""
        ran = subprocess.run(
            ["ray", *words], cwd=self.project, env=environment(self.folder), capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def submit(self, interrupt: Callable[[int, int], None] | None = None) -> tuple[int, str]:
        """Runs the documented command in a terminal, and interrupts it when more shards are committed.

        Args:
            interrupt: gets the process id and the terminal.

        Returns:
            Exit status (negative: the signal) and output.
        """
        aim, output, deadline = committed(self.out) + _STEP, b"", time.monotonic() + 900
        pid, terminal = pty.fork()
        if not pid:
            os.chdir(self.project)
            command = [sys.executable, "jobs/run.py", "jobs/cifar10.yaml"]
            os.execve(command[0], command, environment(self.folder))
        os.set_blocking(terminal, False)
        while True:
            assert time.monotonic() < deadline, output.decode()
            try:
                output += os.read(terminal, 1 << 16)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # the process has ended
                break
            if interrupt and committed(self.out) >= aim:
                interrupt(pid, terminal)
                interrupt = None
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.decode()


@pytest.fixture
def cluster(short_tmp: Path) -> Iterator[Cluster]:
    if os.getuid() or SSHD is None or not all(map(shutil.which, ("rsync", "unshare"))):
        pytest.skip("root, sshd, rsync and namespaces are needed: apt-get install openssh-server rsync python3-venv")
    folder = short_tmp / "machines"
    folder.mkdir()
    cluster = Cluster(folder)
    yield cluster
    for machine in cluster.machines:
        machine.end()


def test_from_nothing_and_after_each_interruption_by_the_same_command(cluster: Cluster) -> None:
    def ctrl_c(pid: int, terminal: int) -> None:
        os.write(terminal, b"\x03")

    def drop(pid: int, terminal: int) -> None:
        os.killpg(pid, signal.SIGKILL)

    def down(pid: int, terminal: int) -> None:
        cluster.ray("down", "-y", "jobs/cifar10.yaml")

    done = 0
    for interrupt in (ctrl_c, drop, down):
        status, text = cluster.submit(interrupt)
        assert status, text
        assert "Traceback" not in text
        assert done < committed(cluster.out) < 428, text
        done = committed(cluster.out)
    status, text = cluster.submit()
    assert status == 0, text
    assert_undisturbed(*JOB, out=cluster.out)
    assert listening()

    cluster.ray("down", "-y", "jobs/cifar10.yaml")
    deadline = time.monotonic() + 240  # a worker's raylet takes a minute to notice, and its agents another one
    while left := [title for machine in cluster.machines for title in machine.processes()] + listening():
        assert time.monotonic() < deadline, left
        time.sleep(1)
