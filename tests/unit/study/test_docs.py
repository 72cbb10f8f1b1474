"""The commands and the Python of the studies' documents work."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).resolve().parents[3] / "docs"
COMMAND = re.compile(r"^python -m (pipeline\.study\.\w+) (.+)$", re.M)


@pytest.mark.parametrize("name", ["study.md", "reproduction.md", "training.md"])
def test_the_parsers_accept_every_command(name: str) -> None:
    commands = COMMAND.findall((DOCS / name).read_text())
    assert commands
    for module, arguments in commands:
        options = importlib.import_module(module)._parser().parse(arguments.split())
        assert options.out


def test_the_python_of_study_md_runs() -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", (DOCS / "study.md").read_text(), re.M | re.S)
    names: dict[str, Any] = {
        "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval(),
        "x": torch.rand(2, 3, 4, 4),
    }
    exec(block, names)
    assert names["maps"].shape == (2, 4, 4)
