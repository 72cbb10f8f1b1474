"""Promises: CPU affinity and cgroup quotas of both versions limit the default number of workers, in every command."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import pipeline.cores
from pipeline.build import main as build_main
from pipeline.cores import usable_cores
from tests.conftest import Build

V2 = "25 21 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 25 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
)
GROUP_V1 = "5:memory:/other\n4:cpu,cpuacct:{path}\n1:name=systemd:/init.scope\n"


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tree with ``/proc`` and cgroup file systems, and returns its root."""

    def make(groups: str, mounts: str, files: dict[str, str]) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        (tmp_path / "proc/self/mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
        for name, content in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        pytest.param({"a/b/cpu.max": "400000 100000"}, 4, id="its own quota"),
        pytest.param({"a/b/cpu.max": "250000 100000"}, 3, id="a part of a core"),
        pytest.param({"a/b/cpu.max": "1000 100000"}, 1, id="less than a core"),
        pytest.param({"a/b/cpu.max": "max 100000"}, 64, id="no quota"),
        pytest.param({"a/b/cpu.max": "max 100000", "a/cpu.max": "600000 100000"}, 6, id="the group above"),
        pytest.param({"a/b/cpu.max": "600000 100000", "a/cpu.max": "200000 50000"}, 4, id="the smallest of both"),
        pytest.param({"a/b/cpu.max": "9900000 100000"}, 64, id="more than the cores"),
        pytest.param({"c/cpu.max": "100000 100000"}, 64, id="another group"),
        pytest.param({"a/b/cpu.max": "200000 0"}, 64, id="no period"),
        pytest.param({"a/b/cpu.max": ""}, 64, id="an empty file"),
    ],
)
def test_quotas_of_version_2(machine: Callable[..., Path], files: dict[str, str], cores: int) -> None:
    assert usable_cores(machine("0::/a/b\n", V2, files)) == cores


@pytest.mark.parametrize(
    ("path", "root", "quota", "cores"),
    [
        pytest.param("/job/step", "/", {"job/step": "300000"}, 3, id="its own quota"),
        pytest.param("/job/step", "/", {"job/step": "-1", "job": "500000"}, 5, id="the group above"),
        pytest.param("/job/step", "/", {"job/step": "-1", "job": "-1"}, 64, id="no quota"),
        pytest.param("/docker/1f", "/docker/1f", {"": "200000"}, 2, id="a container, whose group is the mounted one"),
        pytest.param("/elsewhere", "/docker/1f", {"": "200000"}, 64, id="a group that is not mounted"),
    ],
)
def test_quotas_of_version_1(
    machine: Callable[..., Path], path: str, root: str, quota: dict[str, str], cores: int
) -> None:
    files = {f"cpu,cpuacct/{group}/cpu.cfs_quota_us": number for group, number in quota.items()}
    files |= {f"cpu,cpuacct/{group}/cpu.cfs_period_us": "100000" for group in quota}
    tree = machine(GROUP_V1.format(path=path), V1.format(root=root), files)
    assert usable_cores(tree) == cores


def test_both_versions_on_one_machine(machine: Callable[..., Path]) -> None:
    """A machine with controllers in version 1 has an empty hierarchy of version 2 besides."""
    mounts = V1.format(root="/") + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert usable_cores(machine(GROUP_V1.format(path="/") + "0::/\n", mounts, files)) == 2


def test_affinity_is_the_limit_without_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7, 9})
    assert usable_cores(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores(tmp_path) == 5


def test_a_process_on_one_core_has_one() -> None:
    command = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    command += "from pipeline.cores import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_every_command_starts_as_many_workers(
    build: Build, pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No command asks for the cores of the machine, and build, verify, repair and the studies ask the one function."""
    from pipeline.execution import rebuild, worker_count
    from pipeline.study import options
    from pipeline.verification import verify_output

    modules = (worker_count, rebuild, options, verify_output)
    assert all(module.usable_cores is usable_cores for module in modules)
    package = Path(pipeline.cores.__file__).parent
    asking = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"cpu_count\(|sched_getaffinity\(", path.read_text()) and path.parent.name != "gpus"
    }
    assert asking == {"cores.py"}
    for module in modules:
        monkeypatch.setattr(module, "usable_cores", lambda: 3)
    monkeypatch.setattr(worker_count, "SMALL", 0)
    arguments = ["--dataset", "folder", "--data-dir", str(pictures()), "--ranks", "3", "--samples-per-shard", "1"]
    build_main([*arguments, "--dry-run", "--out", str(tmp_path / "out")])
    assert "on 3 workers" in capsys.readouterr().out
    out = tmp_path / "out"
    build(*arguments, "--out", out)
    workers: list[int] = []

    def verify_parts(_: object, parts: object, count: int, alarm: object) -> Iterator[object]:
        workers.append(count)
        return iter(())

    monkeypatch.setattr(verify_output, "verify_parts", verify_parts)
    verify_output.verify_output(out, verify_output.Options())
    assert workers == [3]


def test_studies_do_not_use_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from pipeline.study import options

    calls: list[int] = []
    monkeypatch.setattr(options, "usable_cores", lambda: 2)
    for before in (8, 1):
        fake = SimpleNamespace(get_num_threads=lambda before=before: before, set_num_threads=calls.append)
        monkeypatch.setattr(torch, "get_num_threads", fake.get_num_threads)
        monkeypatch.setattr(torch, "set_num_threads", fake.set_num_threads)
        options.prepare_torch()
    assert calls == [2, 1]
