"""Every command and code block of the README and the documents runs, or is run by the tests of the part it belongs to."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline.__main__
from pipeline.build import parse_job
from tests.docs.conftest import DOCUMENTS, ROOT, blocks, commands

# Their blocks run here, in the order of the document.
RUN = ("README.md", "docs/quickstart.md", "docs/cifar.md", "docs/report.md", "docs/progress.md", "docs/extending.md")
# Theirs run elsewhere: clients.md in tests/clients/test_examples.py; cluster.md's commands need a cluster, and are taken
# apart by tests/cluster/test_docs.py; those of studies by tests/unit/study/test_docs.py.
ELSEWHERE = ("docs/clients.md", "docs/cluster.md", "docs/study.md", "docs/training.md", "docs/reproduction.md")
FIRST = blocks("README.md")[0]
COMMANDS = {"build", "verify", "report", "show", "export"}


def run_command(line: str) -> str:
    """Run one line of a document, a build on a few images; gives the module or program that ran."""
    words = shlex.split(line)
    if words[0] == "make":
        return run_make(words[1])
    if words == [".", ".venv/bin/activate"]:
        return "activate"
    assert words[0] == "python", line
    if words[1] != "-m":
        short = ["--epochs", "1"] if words[1] == "examples/train_small.py" else []
        subprocess.run([sys.executable, *words[1:], *short], check=True, capture_output=True)
        return words[1]
    module, arguments = words[2].removeprefix("pipeline."), words[3:]
    assert module in COMMANDS
    if module == "build":
        arguments = few(arguments)
    if module == "verify":
        unverified = ["--allow-unverified"] if "--source" in arguments else []
        arguments = [*arguments, *unverified, "--workers", "1", "--sample", "4"]
    if module == "report":
        arguments = [*arguments, "--sample", "4"]
    name = f"pipeline.{module}.__main__" if module == "report" else f"pipeline.{module}"
    assert importlib.import_module(name).main(arguments) == 0, line
    return module


def few(arguments: list[str]) -> list[str]:
    """A document's build on a few images: of CIFAR, the files at hand, as a test downloads nothing."""
    named = arguments[arguments.index("--dataset") + 1] if "--dataset" in arguments else "sample"
    named = "cifar10" if "--config" in arguments else named
    if named.startswith("cifar"):
        local = [] if "--data-dir" in arguments else ["--data-dir", f"data/{named}"]
        arguments = [*arguments, *local, "--allow-unverified", "--limit", "70"]
    return [*arguments, "--workers", "0"]


def run_make(target: str) -> str:
    """The commands of a target of the Makefile; installing them is what CI does before any test."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe, f"make {target}: no such target"
    if target == "demo":
        for line in recipe[1].splitlines():
            if line.strip().startswith("$(BIN)/python"):
                run_command(line.strip().removeprefix("$(BIN)/"))
    return f"make {target}"


@pytest.mark.parametrize("document", RUN)
def test_every_block_runs(document: str, workplace: Path) -> None:
    if document in ("docs/report.md", "docs/extending.md"):
        run_command("python -m pipeline.build --dataset cifar10 --ranks 5,10 --components low,high,full")
    for block in blocks(document):
        if block == FIRST:
            continue  # it has a test of its own
        if block.language == "bash":
            for line in block.text.splitlines():
                if plain := line.partition(" #")[0].strip():
                    run_command(plain)
        elif block.language == "python":
            code = block.text.replace("{000000..000039}", "{000000..000000}")
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_blocks_are_of_known_kinds() -> None:
    """``bash`` and ``python`` run; ``text`` is a signature; no language: a picture of files, or what needs data."""
    for document in DOCUMENTS:
        kinds = {block.language for block in blocks(document)}
        assert kinds <= {"bash", "python", "text", ""}, document
        if kinds & {"bash", "python"}:
            assert document in RUN or document in ELSEWHERE


def unlabelled() -> list[str]:
    lines = [
        line for name in DOCUMENTS for block in blocks(name) if not block.language for line in block.text.splitlines()
    ]
    return [line for line in lines if line.startswith(("python -m", "make ", "ray ", "sbatch "))]


@pytest.mark.parametrize("line", unlabelled())
def test_commands_that_need_data_have_known_options(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(line.partition("#")[0])
    if words[:3] == ["python", "-m", "pipeline.build"]:
        parse_job(words[3:])
    elif words[0] == "make":
        assert run_make_exists(words[1])
    elif words[2].startswith(("pipeline.study.", "pipeline.verify", "pipeline.repair")):
        importlib.import_module(words[2])._parser().parse(words[3:])
    else:
        pytest.fail(f"nobody checks this: {line}")


def run_make_exists(target: str) -> bool:
    return re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M) is not None


def test_the_readme_gets_to_a_trained_network_in_six_commands(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From nothing: the first block of the README, to its last command, which trains (two epochs, where it says five)."""
    lines = [line.partition(" #")[0].strip() for line in FIRST.text.splitlines()]
    assert FIRST.language == "bash"
    assert len(lines) <= 6
    assert lines[0] == "make demo"
    for line in lines[:-1]:
        run_command(line)
    train = shlex.split(lines[-1])
    assert train[1:] == ["examples/train_small.py", "out/sample", "--variant", "rank5"]
    done = subprocess.run([sys.executable, *train[1:], "--epochs", "2"], capture_output=True, text=True, check=True)
    scores = {row[0]: float(row[1]) for row in re.findall(r"tested on (\S+): ([\d.]+)% right", done.stdout)}
    assert scores["rank5"] > 40  # of eight classes


def test_the_set_up_commands_are_targets_of_the_makefile() -> None:
    for document in DOCUMENTS.values():
        for target in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", document.read_text(), re.M):
            assert run_make_exists(target[0] or target[1])


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in DOCUMENTS.values():
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert link.startswith("https://") or (document.parent / link).exists(), f"{document}: {link}"


def test_every_document_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)\)", DOCUMENTS["README.md"].read_text()))
    assert {name for name in DOCUMENTS if name.startswith("docs/")} <= linked


def test_the_reference_of_the_api_is_current() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import api  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(ROOT / "docs"))
    assert api.reference() == DOCUMENTS["docs/api.md"].read_text(), "run python docs/api.py"


def test_the_commands_of_the_documents_exist() -> None:
    for document in DOCUMENTS:
        named = {found for line in commands(document) for found in re.findall(r"-m pipeline\.([a-z.]+)", line)}
        assert named <= set(pipeline.__main__.COMMANDS)
