"""Promise: the programs accept the commands in docs/cluster.md."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from pipeline.build import parse_job
from tests.cluster.conftest import ROOT

COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]


def builds(words: list[str]) -> list[str] | None:
    """Returns the flags of ``pipeline.build`` in a command, if it has any."""
    return words[words.index("pipeline.build") + 1 :] if "pipeline.build" in words else None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_files_that_exist_and_flags_that_are_known(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    for word in words:
        if word.startswith(("jobs/", "docker/")):
            assert Path(word).is_file()
    flags = builds(words)
    if words[1:2] == ["jobs/run.py"]:
        flags = ["--config", *words[2:]]
    if flags is not None:
        parse_job(flags)


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command.startswith("ray ") and "pipeline" not in command]
)
def test_ray_takes_its_commands(command: str) -> None:
    from ray.scripts.scripts import cli

    _, name, *words = shlex.split(command)
    cli.commands[name].make_context(name, words)


def test_the_compose_file_runs_what_the_document_says() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert set(services) == {"head", "worker"}
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["head"]["volumes"] == services["worker"]["volumes"] == ["shared:/work"]
