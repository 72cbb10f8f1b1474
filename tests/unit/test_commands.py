"""Promises of ``rank-shards``: its commands are subcommands, and no module of the user or of another package gets in."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.__main__ import COMMANDS, main
from tests.conftest import Build, contents
from tests.faults.builds import ROOT

MODULES = ("pipeline", "manifests", "random", "types", "queue", "json", "numpy", "numba", "ray", "yaml")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules of the user that must not be imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('the user has {name}.py')")
    return folder


@pytest.fixture
def rank_shards(tmp_path: Path) -> Run:
    """Runs the console command, as pip installs it: a script among those of other packages, which have modules there."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    script = bin_folder / "rank-shards"
    script.write_text(
        "import sys\nfrom pipeline.__main__ import script\nif __name__ == '__main__':\n    sys.exit(script())\n"
    )
    for name in ("yaml", "jinja2", "numpy"):
        (bin_folder / f"{name}.py").write_text(f"raise RuntimeError('another package has {name}.py')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}

    def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(script), *map(str, words)]
        return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    return run


@pytest.mark.ray
def test_modules_of_the_user_are_not_imported_by_any_process(
    hostile: Path, tmp_path: Path, rank_shards: Run, pictures: Callable[..., Path], build: Build
) -> None:
    data = pictures()
    options = ("--dataset", "folder", "--data-dir", data, "--ranks", "3", "--quiet", "--out")
    assert build(*options, tmp_path / "usual", "--workers", "0").status == 0
    built = rank_shards(hostile, "build", *options, "out", "--workers", "2")  # with Ray
    assert (built.returncode, built.stderr) == (0, "")
    assert contents(hostile / "out") == contents(tmp_path / "usual")
    verified = rank_shards(hostile, "verify", "out", "--source", data, "--workers", "2")
    assert (verified.returncode, verified.stderr) == (0, "")
    exported = rank_shards(hostile, "export", "out", "--variant", "rank3", "--to", "arrays")
    assert (exported.returncode, exported.stderr) == (0, "")


def test_networks_of_the_user_are_imported_from_the_current_folder(tmp_path: Path, rank_shards: Run) -> None:
    (tmp_path / "my_networks.py").write_text("raise SystemExit('my networks')")
    ran = rank_shards(
        tmp_path, "study", "rig", "--model", "my_networks:net", "--dataset", "sample", "--limit", "2", "--out", "rig"
    )
    assert "my networks" in ran.stderr


def test_the_bare_command_lists_the_commands(tmp_path: Path, rank_shards: Run) -> None:
    for words in ((), ("--help",), ("-h",), ("help",)):
        ran = rank_shards(tmp_path, *words)
        assert (ran.returncode, ran.stderr) == (0, "")
        lines = ran.stdout.splitlines()
        for name, command in COMMANDS.items():
            assert f"  {name:15} {command.purpose}" in lines
    module = subprocess.run([sys.executable, "-m", "pipeline"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert module.stdout == ran.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_subcommand_and_a_module(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert not ended.value.code
    assert capsys.readouterr().out.startswith(f"usage: rank-shards {name} ")
    module = f"pipeline.{name.replace(' ', '.')}"
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"usage: python -m {module} ")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rank-shards {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("bild out", "unknown command 'bild', did you mean 'build'?"),
        ("study.train", "unknown command 'study.train', did you mean 'study train'?"),
        ("study trian --epochs 2", "unknown study 'trian', did you mean 'study train'?"),
        ("study", "name the study: study train, "),
        ("study --help", "name the study: study train, "),
        ("--verison", "unknown option '--verison', did you mean '--version'?"),
        ("--quiet build", "unknown option '--quiet'"),
        (" ", "unknown command ''"),
    ],
)
def test_an_unknown_command_is_one_line(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split(" ")) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"error: {hint}")


def test_a_mistake_in_a_subcommand_has_its_exit_status(tmp_path: Path, rank_shards: Run) -> None:
    ran = rank_shards(tmp_path, "build", "--ranks", "0", "--dataset", "sample")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    ran = rank_shards(tmp_path, "verify", "nothing")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("words", [[], ["--limit", "3", "job.yaml"], ["job.toml"], ["-x.yaml"]])
def test_submit_without_a_job_file_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", *words]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "give the job file first" in printed.err


def test_the_list_of_commands_into_a_closed_pipe_prints_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        done = subprocess.run([sys.executable, "-m", "pipeline"], stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"")
