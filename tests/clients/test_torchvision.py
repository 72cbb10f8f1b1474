"""Promise: ``RankTruncate`` works in torchvision's v2 ``Compose``, with its images, its labels and its other transforms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import apart

HERE = Path(__file__).parent


def run_apart(script: Path, *arguments: object) -> str:
    """Runs a file in a process that can import torchvision, and returns what it printed."""
    if not apart.FOLDER.is_dir():
        pytest.skip("the Makefile has not installed torchvision")
    command = [sys.executable, "-W", "error", apart.__file__, str(script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_works_in_a_compose_of_torchvision() -> None:
    assert run_apart(HERE / "compose.py") == "all checks passed\n"


def test_the_example_of_the_document_runs_with_torchvision(tmp_path: Path) -> None:
    text = (HERE.parents[1] / "docs" / "pytorch.md").read_text()
    [block] = [block for block in text.split("```python\n")[1:] if "from torchvision" in block]
    example = block.partition("```")[0] + "print(*train_transform(torch.zeros(3, 32, 32, dtype=torch.uint8)).shape)\n"
    (tmp_path / "example.py").write_text(example)
    assert run_apart(tmp_path / "example.py") == "3 32 32\n"
