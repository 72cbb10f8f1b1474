"""Promises of ``jobs/slurm.sh``, with a real Slurm of two nodes in its own namespaces on this machine."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import ROOT, free_port
from tests.faults.builds import assert_undisturbed, committed

pytestmark = [pytest.mark.ray, pytest.mark.full]

STOPPED = "stopped; what is committed stays, and the same command continues from there"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "unshare")
JOB = ("--dataset", "sample", "--ranks", "3", "--components", "low,high", "--samples-per-shard", "20")

# The nodes have other names than the machine, whose own name has the address that Debian gives it.
_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName=alpha NodeHostname=machine NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=beta NodeHostname=machine NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=all Nodes=alpha,beta Default=YES MaxTime=INFINITE State=UP
"""
_UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
_START = """
set -e
hostname machine.example.org
printf '127.0.0.1 localhost\\n127.0.1.1 machine.example.org machine\\n' >{folder}/hosts
mount --bind {folder}/hosts /etc/hosts
munged --force --socket={folder}/munge.socket --key-file={folder}/munge.key --pid-file={folder}/munge.pid \
    --log-file={folder}/munge.log --seed-file={folder}/munge.seed
slurmctld -f {folder}/slurm.conf
slurmd -f {folder}/slurm.conf -N alpha
slurmd -f {folder}/slurm.conf -N beta
echo $$
exec sleep 100000
"""


class Slurm:
    """A Slurm of two nodes with one CPU each. All its processes end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "alpha", "beta"):
            (folder / name).mkdir(parents=True)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        (folder / "slurm.conf").write_text(_CONF.format(folder=folder, ports=[free_port() for _ in range(3)]))
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "VENV": str(Path(sys.executable).parents[1]),
            "RAY_TMPDIR": str(folder),
        }
        self._init = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _START.format(folder=folder)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=(folder / "start.log").open("w"),
            text=True,
        )
        assert self._init.stdout is not None
        assert self._init.stdout.readline(), (folder / "start.log").read_text()
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._inside = ["nsenter", "--target", children[0], "--mount", "--uts", "--pid"]

    def run(self, command: str) -> str:
        """Runs a command of Slurm, in the folder of the project. Returns its output."""
        where = ["sh", "-c", f"cd {shlex.quote(str(ROOT))} && {command}"]
        ran = subprocess.run([*self._inside, *where], env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def submit(self, *flags: object, out: Path, environment: str = "") -> str:
        """Runs the documented command with small numbers. Returns the number of the job."""
        options = "--parsable --nodes=2 --cpus-per-task=1 --mem-per-cpu=1500M --no-requeue"
        words = [f"--chdir={self.folder}", f"--output={self.folder}/job-%j.log", f"{ROOT}/jobs/slurm.sh"]
        words += [f"{ROOT}/jobs/cifar10.yaml", *map(str, flags), "--out", str(out)]
        return self.run(f"PYTHONPATH={ROOT} {environment} sbatch {options} {shlex.join(words)}")

    def log(self, job: str) -> str:
        path = self.folder / f"job-{job}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, job: str, seconds: float = 240) -> str:
        """Waits for the end of a job. Returns its state and exit status, as in ``FAILED 1:0``."""
        deadline = time.monotonic() + seconds
        while True:
            fields = dict(
                word.partition("=")[::2] for word in self.run(f"scontrol show job {job}").split() if "=" in word
            )
            if fields["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"):
                return f"{fields['JobState']} {fields['ExitCode']}"
            assert time.monotonic() < deadline, f"{fields}\n{self.log(job)}\n{self.sides(job)}"
            time.sleep(0.5)

    def sides(self, job: str) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob(f"ray-{job}-*.log"))

    def end(self) -> None:
        self._init.kill()
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()


@pytest.fixture(scope="module")
def slurm(short_tmp: Path) -> Iterator[Slurm]:
    os.environ["PATH"] += ":/usr/sbin"
    if os.getuid() or not all(map(shutil.which, PROGRAMS)):
        pytest.skip("root and Slurm are needed: apt-get install slurmctld slurmd slurm-client munge")
    slurm = Slurm(short_tmp / "slurm")
    yield slurm
    slurm.end()


def test_a_job_runs_on_all_nodes_though_their_names_are_not_the_machines(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = slurm.submit(*JOB, out=out)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job) + slurm.sides(job)
    assert "2,138 images" in slurm.log(job)
    assert_undisturbed(*JOB, out=out)


def wait_for_commits(slurm: Slurm, job: str, out: Path) -> None:
    deadline = time.monotonic() + 120
    while committed(out) < 3:
        assert time.monotonic() < deadline, slurm.log(job) + slurm.sides(job)
        time.sleep(0.1)


def test_a_cancelled_job_says_so_in_its_log_and_the_same_command_continues(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = slurm.submit(*JOB, out=out)
    wait_for_commits(slurm, job, out)
    slurm.run(f"scancel {job}")
    assert slurm.wait(job).startswith("CANCELLED")
    assert slurm.log(job).splitlines()[-1] == STOPPED, slurm.log(job)
    assert 3 <= committed(out) < 108
    job = slurm.submit(*JOB, out=out)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job) + slurm.sides(job)
    assert_undisturbed(*JOB, out=out)


def test_a_job_ends_when_ray_ends_on_a_node(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(*JOB, out=tmp_path / "out")
    wait_for_commits(slurm, job, tmp_path / "out")
    slurm.run(f"scancel --signal=KILL {job}.2")  # after the steps for the address and for the head
    assert slurm.wait(job, 60) == "FAILED 1:0", slurm.log(job)
    assert slurm.log(job).splitlines()[-1].startswith(f"error: Ray ended on a node; ray-{job}-workers.log ends with: ")


def test_a_head_that_does_not_start_is_one_line_in_the_log_of_the_job(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(*JOB, out=tmp_path / "out", environment="RAY_TMPDIR=/proc/nowhere")
    assert slurm.wait(job, 60) == "FAILED 1:0", slurm.log(job)
    (line,) = slurm.log(job).splitlines()
    assert line.startswith(f"error: Ray ended on a node; ray-{job}-head.log ends with: ")
