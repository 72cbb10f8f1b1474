"""Promise: ``--help`` of every command answers within half a second."""

import resource
import subprocess
import sys

import pytest

from tests.faults.builds import ROOT

COMMANDS = {
    "build": "--ranks",
    "verify": "--source",
    "repair": "--source",
    "export": "--variant",
    "publish": "--private",
    "report": "--sample",
    "show": "--ranks",
}
STUDIES = {"train": "--epochs", "attack": "--weights", "spectrum": "--out"}


def processor_seconds(command: list[str], option: str) -> float:
    """Returns the processor time of a command, which other processes on the machine do not change much."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert option in subprocess.check_output(command, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("module", "option"), [*COMMANDS.items(), *((f"study.{name}", option) for name, option in STUDIES.items())]
)
def test_help_answers_in_half_a_second(module: str, option: str) -> None:
    command = [sys.executable, "-m", f"pipeline.{module}", "--help"]
    assert any(processor_seconds(command, option) < 0.5 for _ in range(3))


def test_planning_loads_no_compiler_and_no_ray() -> None:
    """At ImageNet's size planning needs memory for a million entries; numba alone would take 60 MB beside them."""
    code = "import sys, pipeline.execution.run\nprint({'numba', 'ray', 'torch', 'matplotlib'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT) == "set()\n"
