"""The layers of docs/architecture.md are enforced: an import that breaks a contract makes ``make lint`` fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import ROOT

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
FORBIDDEN = {
    "errors.py": "pipeline.console",
    "numerics/geometry.py": "pipeline.formats.png",  # two layers up
    "formats/npy.py": "pipeline.sources.index",  # the same layer
    "planning/plan.py": "pipeline.execution.run",  # the next layer up
    "verification/faults.py": "pipeline.numerics.svd",  # allowed by the layers alone
    "storage/location.py": "ray",
    "report/stored.py": "cupy",
    "data/output.py": "huggingface_hub",
}


def lint(folder: Path) -> tuple[int, str]:
    """Exit status and output of the layer check of ``make lint`` in a copy of the project."""
    wide = os.environ | {"COLUMNS": "200"}  # it wraps its lines
    command = [str(LINT_IMPORTS), "--no-cache"]
    done = subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of its contracts."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_make_lint_checks_the_layers() -> None:
    assert "lint-imports" in (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]


def test_forbidden_imports_are_reported(project: Path) -> None:
    status, output = lint(project)
    assert status == 0, output
    for file, target in FORBIDDEN.items():
        module = project / "pipeline" / file
        module.write_text(f"{module.read_text()}\n\ndef _upward() -> None:\n    import {target}\n")
    status, output = lint(project)
    assert status == 1
    assert "0 kept" in output
    for file, target in FORBIDDEN.items():
        importer = "pipeline." + file.removesuffix(".py").replace("/", ".")
        assert f"{importer} -> {target}" in output, output
