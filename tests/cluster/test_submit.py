"""Promises of ``ray submit`` and ``ray job submit``, with a real sshd on loopback and a real dashboard."""

import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import BIN, copy_of_the_project, environment, free_port
from tests.cluster.machines import SSHD
from tests.faults.builds import assert_undisturbed, committed

pytestmark = [pytest.mark.ray, pytest.mark.full]

JOB = ("--dataset", "sample", "--ranks", "3", "--limit", "40")


def end_all_of(folder: Path) -> None:
    """Kills every process whose environment names the folder."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            mine = int(name) != os.getpid() and str(folder).encode() in Path(f"/proc/{name}/environ").read_bytes()
            if mine:
                os.kill(int(name), signal.SIGKILL)


@pytest.fixture
def folder(short_tmp: Path) -> Iterator[Path]:
    """A folder for one cluster. Processes that name it in their environment are killed at the end."""
    folder = short_tmp / f"s{time.monotonic_ns() % 10**6}"
    folder.mkdir()
    yield folder
    for _ in range(3):
        end_all_of(folder)
        time.sleep(0.2)


# This environment under the name of the node's own, with a pip that installs nothing.
_OWN_ENVIRONMENT = f"""
test -d ~/rank-shards/.venv || (mkdir -p ~/rank-shards/.venv/bin && cd ~/rank-shards/.venv \\
    && cp {BIN.parent}/pyvenv.cfg . && ln -s {BIN.parent}/lib lib && ln -s {BIN}/* bin && ln -sf /bin/true bin/pip)
""".strip()


class Ssh:
    """A head that is reached by ssh on loopback, with its own home folder and a job file."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None
        self.home, self.bin, self.project = folder / "home", folder / "bin", copy_of_the_project(folder)
        self.out = folder / "out"
        self.home.mkdir()
        self.bin.mkdir()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        port = free_port()
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            f"StrictModes no\nUsePAM no\nPidFile none\n"
            f"SetEnv HOME={self.home} RAY_TMPDIR={folder} RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled\n"
        )
        (self.home / ".bashrc").write_text("case $- in *i*) ;; *) return;; esac\n")  # as Debian's begins
        (self.bin / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -p {port} "$@"\n')
        (self.bin / "ssh").chmod(0o755)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.environment = environment(folder)
        self.environment["PATH"] = f"{self.bin}:{self.environment['PATH']}"
        self.sshd = subprocess.Popen(
            [SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")], env=self.environment
        )
        self.config = self.project / "jobs" / "cifar10.yaml"
        document: dict[str, Any] = yaml.safe_load(self.config.read_text())
        start = document["head_start_ray_commands"][1].replace("--port=6379", f"--port={free_port()}")
        more = "--include-dashboard=false --num-cpus=2 --object-store-memory=100000000 --node-ip-address=127.0.0.1"
        self.document = document | {
            "cluster_name": folder.name,
            "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
            "auth": {"ssh_user": getpass.getuser(), "ssh_private_key": str(folder / "user")},
            "setup_commands": [_OWN_ENVIRONMENT, *document["setup_commands"]],
            "head_start_ray_commands": [f"{start} {more}"],  # ray stop would end every Ray on this machine
            "worker_start_ray_commands": [],
        }

    def write(self, **job: Any) -> None:
        """Edits the job file."""
        document = self.document | {
            "metadata": {"job": {"dataset": "sample", "limit": 40, "out": str(self.out), **job}}
        }
        self.config.write_text(yaml.safe_dump(document))

    def run(self, *command: str) -> tuple[int, str]:
        ran = subprocess.run(
            command, cwd=self.project, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return ran.returncode, ran.stdout

    def submit(self, *flags: str) -> tuple[int, str]:
        """Runs the documented command."""
        return self.run(sys.executable, "jobs/run.py", "jobs/cifar10.yaml", *flags)


@pytest.fixture
def ssh(folder: Path) -> Iterator[Ssh]:
    if SSHD is None or shutil.which("rsync") is None:
        pytest.skip("sshd and rsync are needed: apt-get install openssh-server rsync")
    head = Ssh(folder)
    yield head
    head.sshd.kill()
    head.sshd.wait()


def test_ray_submit_runs_the_job_file_and_never_a_stale_one(ssh: Ssh) -> None:
    ssh.write(ranks=[3])
    status, text = ssh.submit()
    assert status == 0, text
    assert_undisturbed("--dataset", "sample", "--ranks", "3", "--limit", "40", out=ssh.out)

    for _ in range(2):  # an unchanged job, as after an interruption
        status, text = ssh.run("ray", "up", "-y", "--no-restart", "jobs/cifar10.yaml")
        assert (status, "already up to date" in text) == (0, True), text
        status, text = ssh.run("ray", "submit", "jobs/cifar10.yaml", "jobs/run.py")
        assert status == 0, text

    ssh.write(ranks=[3, 5])
    status, text = ssh.run("ray", "submit", "jobs/cifar10.yaml", "jobs/run.py")
    assert status == 1, text
    assert "has run before, and your file may have changed; refresh it with: ray up" in text
    assert not (ssh.out / "sample-rank5").exists()

    assert ssh.run("ray", "up", "-y", "--no-restart", "jobs/cifar10.yaml")[0] == 0
    status, text = ssh.run("ray", "submit", "jobs/cifar10.yaml", "jobs/run.py")
    assert status == 0, text
    assert_undisturbed("--dataset", "sample", "--ranks", "3,5", "--limit", "40", out=ssh.out)

    status, text = ssh.submit("--order", "shuffled")
    assert status == 1, text
    assert "error: " in text


def test_ray_job_submit_runs_the_job_and_its_status_tells_failure(folder: Path) -> None:
    project, out, dashboard = copy_of_the_project(folder), folder / "out", free_port()
    head = ["ray", "start", "--head", f"--port={free_port()}", "--num-cpus=2", "--object-store-memory=100000000"]
    ports = ["--node-ip-address=127.0.0.1", f"--dashboard-port={dashboard}", "--include-dashboard=true"]
    ports.append(f"--dashboard-agent-listen-port={free_port()}")  # another Ray on this machine may have the usual one
    subprocess.run([*head, *ports], env=environment(folder), check=True, stdout=subprocess.DEVNULL)

    def ray_job(command: str, *words: str) -> subprocess.CompletedProcess[str]:
        line = ["ray", "job", command, "--address", f"http://127.0.0.1:{dashboard}", *words]
        return subprocess.run(line, cwd=project, env=environment(folder), capture_output=True, text=True)

    def submit(*flags: object, options: tuple[str, ...] = ()) -> tuple[int, str]:
        build = ["python", "-m", "pipeline.build", *JOB, *map(str, flags)]
        for _ in range(30):
            ran = ray_job("submit", "--working-dir", ".", *options, "--", *build)
            if "No available agent" not in ran.stderr:  # a head has no agent just after its start
                break
            time.sleep(2)
        return ran.returncode, ran.stdout + ran.stderr

    status, text = submit("--out", out)
    assert status == 0, text
    assert_undisturbed(*JOB, out=out)

    stopped = folder / "stopped"
    long = ("--out", stopped, "--ranks", "3,5,10,20", "--samples-per-shard", "5", "--limit", "1000")
    assert submit(*long, options=("--no-wait", "--submission-id", "job"))[0] == 0
    deadline = time.monotonic() + 120
    while committed(stopped) < 3:
        assert time.monotonic() < deadline, ray_job("logs", "job").stdout
        time.sleep(0.1)
    assert ray_job("stop", "job").returncode == 0
    text = ray_job("logs", "job").stdout
    assert "stopped; what is committed stays, and the same command continues from there" in text
    assert "***" not in text and "Traceback" not in text
    events = [json.loads(line) for line in (stopped / ".build" / "runs.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "ended early"

    status, text = submit("--out", "lost")
    assert status == 1, text
    assert "is the job's temporary folder; give a path that every node shares" in text

    status, text = submit("--out", out, "--order", "shuffled")
    assert status == 1, text
