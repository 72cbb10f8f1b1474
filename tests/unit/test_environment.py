"""Promises: files in the current folder, a locale, or variables of numba never change what a command does without a word."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Build, contents

OPTIONS = ("--dataset", "folder", "--ranks", "3", "--workers", "0", "--quiet")


def command(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m`` in a folder, in UTF-8 unless ``variables`` say otherwise."""
    line = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(line, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=300)


def test_modules_of_the_user_in_the_current_folder_are_not_imported(
    tmp_path: Path, pictures: Callable[..., Path], build: Build
) -> None:
    data, here = pictures(), tmp_path / "here"
    assert build(*OPTIONS, "--data-dir", data, "--out", tmp_path / "usual").status == 0
    here.mkdir()
    for name in ("random", "queue", "json", "numpy", "numba", "platform", "secrets", "ray"):
        (here / f"{name}.py").write_text(f"raise RuntimeError('the user has {name}.py')")
    built = command(here, "pipeline.build", *OPTIONS, "--data-dir", data, "--out", tmp_path / "out")
    assert (built.returncode, built.stderr) == (0, "")
    assert contents(tmp_path / "out") == contents(tmp_path / "usual")
    verified = command(here, "pipeline.verify", tmp_path / "out", "--source", data)  # in several processes
    assert (verified.returncode, verified.stderr) == (0, "")


def test_networks_of_the_user_are_still_imported_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").touch()
    line = [sys.executable, "-i", "-m", "pipeline.errors"]  # -i: then it reads the standard input
    code = "import my_networks, random, sys\nsys.exit(7)\n"
    assert subprocess.run(line, cwd=tmp_path, input=code, text=True, capture_output=True, timeout=60).returncode == 7


def test_file_names_that_a_locale_decodes_are_refused(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    data = pictures(classes="\u00e4b")
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    built = command(tmp_path, "pipeline.build", *OPTIONS, "--data-dir", data, "--out", "out", **locale)
    assert built.returncode == 2 and built.stderr.count("\n") == 1 and "PYTHONUTF8=1" in built.stderr
    assert not (tmp_path / "out").exists()
    built = command(tmp_path, "pipeline.build", *OPTIONS, "--data-dir", data, "--out", "out", LC_ALL="C")
    assert built.returncode == 0


def test_compilation_that_is_switched_off_is_one_line(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    built = command(
        tmp_path, "pipeline.build", *OPTIONS, "--data-dir", pictures(), "--out", "out", NUMBA_DISABLE_JIT="1"
    )
    assert built.returncode == 1 and built.stderr.count("\n") == 1 and "NUMBA_DISABLE_JIT" in built.stderr


@pytest.mark.full  # everything is compiled once more
def test_python_without_asserts_builds_the_same(tmp_path: Path, pictures: Callable[..., Path], build: Build) -> None:
    data = pictures()
    assert build(*OPTIONS, "--data-dir", data, "--out", tmp_path / "usual").status == 0
    line = [
        sys.executable,
        "-OO",
        "-m",
        "pipeline.build",
        *OPTIONS,
        "--data-dir",
        str(data),
        "--out",
        str(tmp_path / "out"),
    ]
    assert subprocess.run(line, check=False).returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "usual")
