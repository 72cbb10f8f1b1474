"""A folder in which the documents' relative paths mean something, and their blocks."""

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
    text = DOCUMENTS[document].read_text()
    assert text.count("\n```") % 2 == 0
    return [Block(*found) for found in re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.M | re.S)]


def commands(document: str) -> list[str]:
    """The lines of its bash blocks, without comments."""
    lines = [line for block in blocks(document) if block.language == "bash" for line in block.text.splitlines()]
    return [plain for line in lines if (plain := line.partition(" #")[0].strip())]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR stand-ins of the official sizes, pictures, job files, examples; it is the current folder."""
    generator = np.random.default_rng(0)
    cifar10 = tmp_path / "data" / "cifar10" / "cifar-10-batches-bin"
    cifar10.mkdir(parents=True)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        records = np.zeros(
            (10_000, 3073), np.uint8
        )  # few are read: noise in all of them would take longer than the tests
        records[:200] = generator.integers(0, 256, (200, 3073), np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        records.tofile(cifar10 / name)
    cifar100 = tmp_path / "data" / "cifar100" / "cifar-100-binary"
    cifar100.mkdir(parents=True)
    for name, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.zeros((count, 3074), np.uint8)
        records[:200] = generator.integers(0, 100, (200, 3074), np.uint8)
        records[:, 1] = np.arange(count) % 100
        records.tofile(cifar100 / name)
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(smooth(generator, 48, 40)).save(tmp_path / "pictures" / "train" / label / f"{i}.png")
    for name in ("jobs", "examples", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1"}
    ours = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    for name, value in (offline | ours).items():
        monkeypatch.setenv(name, value)
    return tmp_path
