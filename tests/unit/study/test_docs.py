"""The commands and the Python of the studies' documents work."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).resolve().parents[3] / "docs"
COMMAND = re.compile(r"^(?:python|torchrun .*?) -m (pipeline\.study\.\w+) (.+)$", re.M)


@pytest.mark.parametrize("name", ["study.md", "reproduction.md", "training.md", "own_network.md"])
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


def test_the_page_for_an_own_network_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "own_network.md").read_text()
    [network] = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    lines = [line for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S) for line in block.splitlines()]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_network", None)
    Path("my_network.py").write_text(network)
    few = {"pipeline.build": ["--limit", "96", "--samples-per-shard", "64", "--workers", "0"]}
    for line in lines:
        python, _, module, *arguments = line.split()
        assert python == "python"
        assert importlib.import_module(module).main([*arguments, *few.get(module, [])]) == 0, line
    assert {path.name for path in tmp_path.iterdir()} >= {"spectrum", "controls", "rig", "runs", "out"}
    for figure in ("spectrum/spectrum.png", "controls/controls.png", "rig/rig.png"):
        assert (tmp_path / figure).exists(), figure
