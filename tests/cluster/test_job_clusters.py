"""Promises of the sections of ``jobs/`` that describe a cluster to Ray: here they are only read."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import ROOT
from tests.cluster.test_jobs import FILES, JOBS


@pytest.mark.parametrize(
    "file", [*FILES, JOBS / "slurm.sh", ROOT / "docker" / "Dockerfile"], ids=lambda file: file.name
)
def test_ray_reports_nothing_to_its_makers_where_we_start_it(file: Path) -> None:
    """With ``RAY_USAGE_STATS_ENABLED=0`` alone a head would still report that statistics are off."""
    text = file.read_text()
    assert text.count("RAY_USAGE_STATS_ENABLED=0") == text.count("RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9") == 1


def test_aws_names_an_image_for_every_node_type() -> None:
    """Ray fills in its own image of Ubuntu 18.04, where this project cannot be installed."""
    from ray.autoscaler._private.aws import config

    document = yaml.safe_load((JOBS / "aws.yaml").read_text())
    config._check_ami(document)  # fills in what is missing
    images = {node_type["node_config"]["ImageId"] for node_type in document["available_node_types"].values()}
    assert images.isdisjoint(config.DEFAULT_AMI.values())
    assert document["provider"]["region"] in config.DEFAULT_AMI  # or else the check above says nothing


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cluster_has_a_token_on_all_nodes(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    assert document["cluster_synced_files"] == ["~/.ray/auth_token"]
    for commands in (document["head_start_ray_commands"], document["worker_start_ray_commands"]):
        assert commands[-1].startswith("RAY_AUTH_MODE=token ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_node_starts_a_log_monitor(file: Path) -> None:
    """It would stay on a worker after ``ray down``."""
    document = yaml.safe_load(file.read_text())
    for commands in (document["head_start_ray_commands"], document["worker_start_ray_commands"]):
        assert "ray start --include-log-monitor=false " in commands[-1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nodes_install_the_light_base(file: Path) -> None:
    """Torch brings 2.7 GB of CUDA's wheels, which a build on CPUs does not need."""
    (setup,) = yaml.safe_load(file.read_text())["setup_commands"]
    assert setup.partition(" &&")[0] == "bash ~/rank-shards/jobs/node.sh"  # without an extra
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if name.startswith(("torch", "cupy", "nvidia"))]


def test_aws_installs_what_its_file_system_and_its_environment_need() -> None:
    install, *_, mount = yaml.safe_load((JOBS / "aws.yaml").read_text())["initialization_commands"]
    assert {"nfs-common", "python3-venv"} <= set(install.split())
    assert "mount -t nfs4" in mount


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_what_nodes_need_is_sent(file: Path) -> None:
    """Ray reads all that it may send at each ``ray up``, also what ``rsync_exclude`` leaves out, such as ``data``."""
    mounts = yaml.safe_load(file.read_text())["file_mounts"]
    assert all(remote == f"~/rank-shards/{local}" and (ROOT / local).exists() for remote, local in mounts.items())
    assert sum(path.stat().st_size for local in mounts.values() for path in (ROOT / local).rglob("*.py")) < 5e6
    assert {"pipeline", "manifests", "jobs", "pyproject.toml", "constraints.txt"} <= set(mounts.values())


@pytest.mark.parametrize("script", ["slurm.sh", "node.sh", "shell.sh"])
def test_the_scripts_are_shell_scripts(script: str) -> None:
    subprocess.run(["bash", "-n", str(JOBS / script)], check=True)
