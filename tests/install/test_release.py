"""Promise: ``make release`` refuses a tree that is no release, in one line, before it takes any time."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import __version__
from tests.faults.builds import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with what the first checks of ``make release`` read, and no environment."""
    for name in ("Makefile", "CHANGELOG.md", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "pipeline").mkdir()
    shutil.copy(ROOT / "pipeline" / "__init__.py", tmp_path / "pipeline")
    (tmp_path / ".gitignore").write_text("/.venv/\n")
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(tree: Path, *words: str) -> None:
    identity = ("-c", "user.name=name", "-c", "user.email=name@example.org")
    subprocess.run(["git", *identity, *words], cwd=tree, check=True, capture_output=True)


def release(tree: Path, changelog: str) -> str:
    """Commits a changelog, and returns what ``make release`` prints to stderr."""
    (tree / "CHANGELOG.md").write_text(changelog)
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "a state")
    return ended(tree)


def ended(tree: Path) -> str:
    ran = subprocess.run(["make", "release"], cwd=tree, capture_output=True, text=True)
    assert ran.returncode
    return ran.stderr


def test_a_tree_that_is_no_release_is_refused(tree: Path) -> None:
    for heading in (f"## {__version__} (unreleased)", "## 0.1.0"):
        assert f"CHANGELOG.md has no heading '## {__version__}'" in release(tree, f"# Changelog\n\n{heading}\n")
    (tree / "new.txt").touch()
    assert "git status is not clean" in ended(tree)
    (tree / "new.txt").unlink()
    assert not (tree / ".venv").exists()  # it takes minutes
    (tree / ".venv").mkdir()
    for name in (".ready", ".docs"):
        (tree / ".venv" / name).touch()
    passed = release(tree, f"# Changelog\n\n## {__version__}\n")
    assert "release: " not in passed  # it has reached `make lint`, which this tree has no tools for
