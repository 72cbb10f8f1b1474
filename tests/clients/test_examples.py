"""Promise: every example of docs/clients.md and of the cards of an output runs, and returns every sample once."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.clients.conftest import COUNTS, SHARDS, Output, own_cache

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "clients.md").read_text()
CLIENTS = ("webdataset", "datasets", "timm", "wids", "nvidia.dali", "torchdata", "mlcroissant")
Run = Callable[[str, Path], dict[str, Any]]
pytestmark = pytest.mark.filterwarnings("ignore:String specifications")


class TorchvisionStub(MetaPathFinder, Loader):
    """Stands for torchvision, which has no CPU build. ``import timm.data`` needs it; reading an output does not."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torchvision" else None

    def create_module(self, spec: ModuleSpec) -> Any:
        return MagicMock(name=spec.name, __path__=[], __spec__=spec, __name__=spec.name)

    def exec_module(self, module: Any) -> None:
        pass


@pytest.fixture(scope="module")
def timm() -> Iterator[None]:
    """Lets the tests of this module import timm."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # built for another torch: "operator torchvision::nms does not exist"
        before = set(sys.modules)
        finder = TorchvisionStub()
        sys.meta_path.insert(0, finder)
        pytest.importorskip("timm.data")
        yield
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("torchvision", "timm"):
                del sys.modules[name]
    else:
        yield


@pytest.fixture
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Returns a function that runs an example in a folder and returns its variables. Skips if its client is missing."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def execute(example: str, folder: Path) -> dict[str, Any]:
        client = client_of(example)
        if client == "timm":
            request.getfixturevalue("timm")
        elif importlib.util.find_spec(client.partition(".")[0]) is None:
            pytest.skip(f"{client} is not installed")
        elif client == "mlcroissant":
            own_cache(tmp_path, monkeypatch)
        monkeypatch.chdir(folder)
        variables: dict[str, Any] = {}
        exec(compile(example, client, "exec"), variables)
        return variables

    return execute


def client_of(example: str) -> str:
    [client] = {name for name in CLIENTS if re.search(rf"^(import|from) {re.escape(name)}\b", example, re.M)} - (
        {"webdataset"} if "torchdata" in example else set()
    )
    return client


def blocks(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def count(client: str, data: Any) -> int:
    if client == "nvidia.dali":
        data.build()
        data.run()
        return int(data.epoch_size("reader"))
    if client == "torchdata":
        return sum(len(labels) for _, labels in data)
    if client == "wids":
        return sum(1 for i in range(len(data)) if data[i][".png"])
    return sum(1 for _ in data)


def test_there_is_one_example_for_each_client() -> None:
    assert [client_of(block) for block in blocks(DOCUMENT)] == list(CLIENTS)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_example_of_the_document_returns_every_sample(client: str, cifar: Output, run: Run) -> None:
    [example] = [block for block in blocks(DOCUMENT) if client_of(block) == client]
    last = len(SHARDS["train"]) - 1
    variables = run(example.replace("{000000..000039}", f"{{000000..{last:06d}}}"), cifar.root.parent.parent)
    assert count(client, variables["train"]) == COUNTS["train"]
    if client in ("datasets", "timm"):
        assert count(client, variables["alone"]) == COUNTS["test" if client == "timm" else "train"]
    if client == "datasets":
        assert count(client, variables["stream"]) == COUNTS["train"]


def test_the_tar_command_of_the_document_runs(cifar: Output, tmp_path: Path) -> None:
    [command] = [block for block in blocks(DOCUMENT, "bash") if block.startswith("tar ")]
    (tmp_path / "out").symlink_to(cifar.root.parent)
    (tmp_path / "pictures").mkdir()
    subprocess.run(command.split(), check=True, cwd=tmp_path)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == SHARDS["test"][0]


def test_the_export_of_the_document_gives_a_hub_folder(
    cifar: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    [block] = [block for block in blocks(DOCUMENT, "bash") if "pipeline.export" in block]
    [command] = [line for line in block.splitlines() if not line.startswith("#")]
    (tmp_path / "out").symlink_to(cifar.root.parent)
    subprocess.run(
        [sys.executable, *command.split()[1:]], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert {split: len(rows) for split, rows in datasets.load_dataset(str(tmp_path / "hub")).items()} == COUNTS


@pytest.mark.parametrize("client", ["webdataset", "datasets", "timm", "wids"])
@pytest.mark.parametrize("place", ["", "cifar10-highrank5", "cifar10-full"])
def test_the_example_of_a_card_works_in_its_folder(client: str, place: str, cifar: Output, run: Run) -> None:
    card = (cifar.root / place / "README.md").read_text()
    [example] = [block for block in blocks(card) if client_of(block) == client]
    assert count(client, run(example, cifar.root / place)["data"]) == COUNTS["train"]
