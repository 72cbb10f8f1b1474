"""Runs the commands of documents on a few images, each command once per session."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.conftest import ROOT

MODULES = {"build", "verify", "report", "show", "export"}
_outputs: dict[tuple[str, ...], str] = {}  # of the commands that have run in the workplace of this session


def run_command(line: str) -> str:
    """Runs a line of a document, unless another document has run it. Fails if the command fails.

    Returns:
        what a Python script writes to stdout; nothing for other commands.
    """
    words = tuple(shlex.split(line))
    if words not in _outputs:
        _outputs[words] = _run(words)
    return _outputs[words]


def _run(words: tuple[str, ...]) -> str:
    if words[0] == "rank-shards":
        words = ("python", "-m", f"pipeline.{words[1]}", *words[2:])
    if words[0] == "make":
        _make(words[1])
    elif words[:2] == ("python", "-m"):
        module, arguments = words[2].removeprefix("pipeline."), list(words[3:])
        assert module in MODULES, words
        name = f"pipeline.{module}.__main__" if module == "report" else f"pipeline.{module}"
        assert importlib.import_module(name).main(_few(module, arguments)) == 0, words
    elif words[0] == "python":
        few = ["--epochs", "2"] if words[1] == "examples/train_small.py" else []
        done = subprocess.run([sys.executable, *words[1:], *few], check=True, capture_output=True, text=True)
        return done.stdout
    else:
        assert words == (".", ".venv/bin/activate"), words
    return ""


def _few(module: str, arguments: list[str]) -> list[str]:
    """Returns a command's arguments, changed so that it handles few images and downloads nothing."""
    if module == "build":
        return _few_images(arguments)
    if module == "verify":
        unverified = ["--allow-unverified"] if "--source" in arguments else []
        local = [argument.replace("~/.cache/rank-shards/", "data/") for argument in arguments]
        return [*local, *unverified, "--workers", "1", "--sample", "4"]
    return [*arguments, "--sample", "4"] if module == "report" else arguments


def _few_images(arguments: list[str]) -> list[str]:
    dataset = arguments[arguments.index("--dataset") + 1] if "--dataset" in arguments else "sample"
    dataset = "cifar10" if "--config" in arguments else dataset
    if dataset.startswith("cifar"):
        local = [] if "--data-dir" in arguments else ["--data-dir", f"data/{dataset}"]
        arguments = [*arguments, *local, "--allow-unverified", "--limit", "70"]
    elif dataset == "folder":
        shutil.rmtree(Path("out", "pets"), ignore_errors=True)  # documents give it different sizes
    return [*arguments, "--workers", "0"]


def recipe(target: str) -> list[str]:
    """Returns the commands of a target of the Makefile. Fails where there is no such target."""
    text = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert text, f"make {target}: no such target"
    return [line.strip() for line in text[1].splitlines()]


def _make(target: str) -> None:
    """Runs the Python commands of ``make demo``; installing them is what CI does before any test."""
    for line in recipe(target) if target == "demo" else []:
        if line.startswith("$(BIN)/python"):
            run_command(line.removeprefix("$(BIN)/"))
