"""Every command and example of the README and the documents runs here, or in the tests of the part it belongs to."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

import pipeline.__main__
from pipeline.build import parse_job
from pipeline.planning.options import OPTIONS
from pipeline.sources.cache import cache_folder
from tests.docs.conftest import DOCUMENTS, ROOT, blocks, commands
from tests.docs.run import recipe, run_command

# Their blocks run here, in the order of the document.
RUN = (
    "README.md",
    "docs/quickstart.md",
    "docs/build.md",
    "docs/cifar.md",
    "docs/datasets.md",
    "docs/pytorch.md",
    "docs/report.md",
    "docs/progress.md",
    "docs/slow.md",
    "docs/extending.md",
    "docs/format.md",
)
# Those of clients.md run in tests/clients/test_examples.py and those of studies in tests/unit/study/test_docs.py. Commands
# of cluster.md need a cluster: tests/cluster/test_docs.py checks their options.
ELSEWHERE = (
    "docs/clients.md",
    "docs/cluster.md",
    "docs/study.md",
    "docs/own_network.md",
    "docs/training.md",
    "docs/reproduction.md",
)
CIFAR10 = "python -m pipeline.build --dataset cifar10 --ranks 3,5,10,20 --components low,high,full"


@pytest.mark.xdist_group("documents")  # one builds on what another has built
@pytest.mark.parametrize("document", RUN)
def test_every_block_runs(document: str, workplace: Path) -> None:
    if "out/cifar10" in DOCUMENTS[document].read_text():
        run_command(CIFAR10)
    for block in blocks(document):
        for command in commands(block):
            run_command(command)
        if block.language == "python" and "from torchvision" not in block.text:  # tests/clients/test_torchvision.py
            exec(compile(block.text, document, "exec"), {"__name__": "__main__"})


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
        assert recipe(words[1])
    elif words[2].startswith(
        ("pipeline.study.", "pipeline.verify", "pipeline.repair", "pipeline.export", "pipeline.publish")
    ):
        name = f"{words[2]}.__main__" if words[2] == "pipeline.publish" else words[2]
        importlib.import_module(name)._parser().parse(words[3:])
    else:
        pytest.fail(f"nothing checks this: {line}")


@pytest.mark.xdist_group("documents")
def test_the_readme_gets_to_a_trained_network_in_six_commands(workplace: Path) -> None:
    """Its first block leads from nothing to a trained network; two epochs suffice here, where the example makes five."""
    *before, last = commands(blocks("README.md")[0])
    assert len(before) < 6
    assert before[0] == "make demo"
    for command in before:
        run_command(command)
    assert shlex.split(last)[1:] == ["examples/train_small.py", "out/sample", "--variant", "rank5"]
    scores = {row[0]: float(row[1]) for row in re.findall(r"tested on (\S+): ([\d.]+)% right", run_command(last))}
    assert scores["rank5"] > 40  # of eight classes


def test_the_make_commands_of_the_documents_are_targets() -> None:
    for document in DOCUMENTS.values():
        for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", document.read_text(), re.M):
            assert recipe(target[0] or target[1])


def test_the_commands_of_the_documents_exist() -> None:
    names = {name.replace(" ", ".") for name in pipeline.__main__.COMMANDS}
    for document in DOCUMENTS:
        for command in [command for block in blocks(document) for command in commands(block)]:
            assert set(re.findall(r"-m pipeline\.([a-z.]+)", command)) <= names


def anchors(document: Path) -> set[str]:
    """Returns the anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_exist(document: str) -> None:
    for link in re.findall(r"\]\(([^()\s]+)\)", DOCUMENTS[document].read_text()):
        path, _, anchor = link.partition("#")
        target = DOCUMENTS[document].parent / path if path else DOCUMENTS[document]
        if not link.startswith("https://"):
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_document_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)\)", DOCUMENTS["README.md"].read_text()))
    assert {name for name in DOCUMENTS if name.startswith("docs/")} <= linked


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, attributes = name, list[str]()
    while True:
        try:
            value: object = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, attribute = module.rpartition(".")
            attributes.insert(0, attribute)
    for attribute in attributes:
        value = getattr(value, attribute, None)
    return value is not None


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))  # which may name what is gone
def test_paths_and_names_of_code_exist(document: str) -> None:
    text = DOCUMENTS[document].read_text()
    paths = re.findall(r"(?<![\w/.])((?:\.ci|bench|docker|docs|examples|jobs|manifests|pipeline|tests)/[\w./-]*)", text)
    assert [path for path in paths if not (ROOT / path.rstrip(".")).exists()] == []
    names = set(re.findall(r"(?<![\w/.-])pipeline(?:[.:][A-Za-z_]\w*)+", text))
    assert [name for name in names if not exists(name.replace(":", "."))] == []


def test_the_paths_of_the_cache_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run.py`` replaces the cache in the commands of the README, because tests download nothing."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/user")
    folder = str(cache_folder("cifar10")).replace("/home/user", "~")
    for document in ("README.md", "docs/build.md", "docs/cifar.md"):
        assert folder in DOCUMENTS[document].read_text()


def test_the_build_page_names_every_option() -> None:
    table = DOCUMENTS["docs/build.md"].read_text().partition("## All options")[2]
    assert set(re.findall(r"^\| `--([a-z-]+)", table, re.M)) == {*OPTIONS, "config"}


def test_the_architecture_names_every_folder() -> None:
    text = DOCUMENTS["docs/architecture.md"].read_text()
    folders = [file.parent.name for file in (ROOT / "pipeline").glob("*/__init__.py")]
    assert len(folders) > 8
    assert [folder for folder in folders if f" {folder}/" not in text] == []


def test_the_architecture_shows_the_layers_of_the_contract() -> None:
    """The diagram names the folders of each line of the contract, from top to bottom."""
    contract = (ROOT / "pyproject.toml").read_text().partition("layers = [")[2].partition("]")[0]
    diagram = blocks("docs/architecture.md")[0].text.split("+--")
    lines = [set(re.findall(r"\w+", line)) - {"__main__"} for line in re.findall(r'"(.+)"', contract)]
    shown = [set(re.findall(r"\w+", box)) for box in diagram if re.search(r"\w", box)]
    assert len(lines) == len(shown) == 9
    assert all(names <= box for names, box in zip(lines, shown, strict=True))
