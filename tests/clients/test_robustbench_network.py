"""Promise: ``robustbench:NAME`` is a network of RobustBench's zoo, loaded by RobustBench's own code."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.study.networks.load import load_network
from tests.clients import apart

HERE = Path(__file__).parent
NAME = "robustbench:cifar10/L2/Sehwag2021Proxy_R18"
pytestmark = pytest.mark.skipif(
    not (apart.FOLDER / "torchdiffeq").is_dir(), reason="the Makefile has not installed robustbench"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("robustbench") / "network.pt"
    made = run(path, "make", path)
    assert made.returncode == 0, made.stderr
    return path


def run(checkpoint: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, HERE / "apart.py", HERE / "robustbench_network.py", *words]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parents[1]), "HOME": str(checkpoint.parent)}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=checkpoint.parent, env=environment
    )


def test_a_study_runs_on_a_network_of_the_zoo(checkpoint: Path, shared: Path, tmp_path: Path) -> None:
    records = shared / "data" / "cifar10" / "test_batch.first1017.bin"
    job = ("--images", records, "--limit", 8, "--ranks", "3,32", "--out", tmp_path / "out")
    ran = run(checkpoint, "spectrum", "--model", NAME, "--weights", checkpoint, *job)
    assert (ran.returncode, ran.stderr.count("Traceback")) == (0, 0), ran.stderr
    with (tmp_path / "out" / "spectrum.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"Sehwag2021Proxy_R18"}
    assert {row["rank"] for row in rows} == {"3", "32"}


def test_a_checkpoint_of_the_robustness_library_is_robustbench_s_network(checkpoint: Path, tmp_path: Path) -> None:
    """So the paper's natural and robust networks can be compared: one is such a checkpoint, the other RobustBench's."""
    ran = run(checkpoint, "madry", tmp_path / "cifar_nat.pt")
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 1e-6


def test_mistakes_are_one_line(checkpoint: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"no checkpoint")
    cases = {
        ("robustbench:Standrd", checkpoint): "cifar10/Linf has no 'Standrd', did you mean 'Standard'?",
        ("robustbench:svhn/Linf/Standard", checkpoint): "give robustbench:[DATASET/[THREAT/]]NAME",
        ("robustbench:a/b/c/d", checkpoint): "give robustbench:[DATASET/[THREAT/]]NAME",
        (NAME, garbage): f"its checkpoint is {garbage}",
        ("robustbench:Standard", checkpoint): "Missing key(s)",
        ("robustbench:Chen2020Adversarial", checkpoint): "has 3 checkpoints: put them into models",
    }
    ran = run(checkpoint, "load", *(word for case in cases for word in case))
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(cases), ran.stdout
    for line, expected in zip(ran.stdout.splitlines(), cases.values(), strict=True):
        assert expected in line


def test_what_needs_no_robustbench_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="normalises its input itself: remove --mean and --std"):
        load_network(NAME, mean=(0.5, 0.5, 0.5))
    with pytest.raises(UsageError, match="the file does not exist"):
        load_network(NAME, tmp_path / "absent.pt")


def test_without_robustbench_one_line_says_how_to_install_it() -> None:
    """This environment has only the part of it that torchattacks brings."""
    with pytest.raises(UsageError, match=r"pip install \"robustbench==1.1.1\""):
        load_network(NAME)
