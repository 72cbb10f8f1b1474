"""Promises of ``jobs/node.sh`` and ``jobs/shell.sh``: what Ray's launcher finds on a node, and other shells do not."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import ROOT

JOBS = ROOT / "jobs"


class Node:
    """A home folder with the project's scripts, and an environment whose ``pip`` installs nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "rank-shards" / ".venv" / "bin").mkdir(parents=True)
        (home / "rank-shards" / "jobs").symlink_to(JOBS)
        for program in ("pip", "ray", "python"):
            path = home / "rank-shards" / ".venv" / "bin" / program
            path.write_text(f"#!/bin/sh\necho {program} of the project $RAY_AUTH_MODE\n")
            path.chmod(0o755)
        (home / ".bashrc").write_text("case $- in *i*) ;; *) return;; esac\n")  # as Debian's begins

    def bash(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", **variables}
        return subprocess.run(["bash", *words], env=environment, capture_output=True, text=True)

    def launched(self, command: str) -> str:
        """Runs a command as Ray's launcher does on a node. Returns its output."""
        from ray.autoscaler._private.command_runner import _with_interactive

        (line,) = [word for word in _with_interactive(command) if word.startswith("'")]
        return self.bash("--login", "-c", "-i", shlex.split(line)[0]).stdout


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


def test_a_node_finds_ray_and_python_in_the_launchers_shells_and_in_no_other(node: Node) -> None:
    for _ in range(2):  # it may run again
        ran = node.bash(str(JOBS / "node.sh"), PYTHON=sys.executable)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert (node.home / ".bashrc").read_text().count("shell.sh ]") == 1
    assert node.launched("ray stop") == "ray of the project token\n"
    assert node.launched("python ~/run.py") == "python of the project token\n"
    assert "of the project" not in node.bash("--login", "-i", "-c", "python --version; ray stop").stdout
    token = node.home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_node_notes_every_ray_up(node: Node) -> None:
    assert node.bash(str(JOBS / "node.sh"), PYTHON=sys.executable).returncode == 0
    up = node.home / ".rank-shards-up"
    node.launched("python ~/run.py")
    assert not up.exists()
    node.launched("uptime")  # with which ray up begins
    assert up.exists()


@pytest.mark.parametrize("python", ["no-python3-here", "/bin/false"])
def test_a_node_without_a_usable_python_says_so_in_one_line(node: Node, python: str) -> None:
    ran = node.bash(str(JOBS / "node.sh"), PYTHON=python)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert f"{python} must be Python 3.11 or later with venv" in ran.stderr
