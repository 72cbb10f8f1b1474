"""The documents and their blocks, and one folder per session in which their relative paths mean something."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.conftest import smooth

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {file.relative_to(ROOT).as_posix(): file for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}


class Block(NamedTuple):
    """A fenced block: its language (empty for none) and its text."""

    language: str
    text: str


def blocks(document: str) -> list[Block]:
    """Returns the fenced blocks of a document, in its order."""
    text = DOCUMENTS[document].read_text()
    assert text.count("\n```") % 2 == 0
    return [Block(*block) for block in re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.M | re.S)]


def commands(block: Block) -> list[str]:
    """Returns the lines of a bash block without comments."""
    lines = block.text.splitlines() if block.language == "bash" else []
    return [command for line in lines if (command := re.sub(r"(^| )#.*", "", line).strip())]


def cifar(folder: Path, names: dict[str, int], labels: int, classes: int) -> None:
    """Writes files in the layout and of the size of a binary CIFAR, noise in the first images and zeros in the others."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, count in names.items():
        records = np.zeros((count, labels + 3072), np.uint8)
        records[:200] = generator.integers(0, classes, (200, labels + 3072), np.uint8)
        records[:, labels - 1] = np.arange(count) % classes
        records.tofile(folder / name)


@pytest.fixture(scope="session")
def shared_workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR files, pictures, job files and examples; what one document builds, the others find there."""
    folder = tmp_path_factory.mktemp("workplace")
    files = {f"data_batch_{i}.bin": 10_000 for i in range(1, 6)} | {"test_batch.bin": 10_000}
    cifar(folder / "data" / "cifar10" / "cifar-10-batches-bin", files, labels=1, classes=10)
    cifar(folder / "data" / "cifar100" / "cifar-100-binary", {"train.bin": 50_000, "test.bin": 10_000}, 2, 100)
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "pictures" / "train" / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(smooth(generator, 48, 40)).save(folder / "pictures" / "train" / label / f"{i}.png")
    for name in ("jobs", "examples", "docs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def workplace(shared_workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder, as the current one."""
    monkeypatch.chdir(shared_workplace)
    for name, value in {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    return shared_workplace
