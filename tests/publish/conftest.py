"""Fixtures: a Hub on loopback, an output, and the command in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.build import main as build
from tests.publish.hub_server import Server, running
from tests.publish.hub_state import TOKEN

WHERE = "lab/sample-ranks"
Publish = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[Server]:
    yield from running()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of ``sample``: two splits, two variants, several shards. Read it only."""
    out = tmp_path_factory.mktemp("publish") / "sample"
    job = ["--dataset", "sample", "--ranks", "3", "--limit", "30", "--samples-per-shard", "10", "--out", str(out)]
    assert build([*job, "--workers", "0", "--quiet"]) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "sample"))


@pytest.fixture
def environment(hub: Server, tmp_path: Path) -> dict[str, str]:
    """The environment of a user of this Hub: a token, and no files of the machine's own user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return kept | own | {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture
def publish(environment: dict[str, str]) -> Publish:
    """Runs ``python -m pipeline.publish`` and returns the finished process."""

    def run(*arguments: Any, **changed: str | None) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "pipeline.publish", *map(str, arguments)]
        settings = {name: value for name, value in (environment | changed).items() if value is not None}
        return subprocess.run(words, env=settings, capture_output=True, text=True, timeout=300)

    return run


def error(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """Returns the one line of a command that failed."""
    lines = [line for line in done.stderr.splitlines() if not re.match("reading|uploading", line)]
    assert (done.returncode, done.stdout, len(lines)) == (status, "", 1), done
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
    return lines[0].removeprefix("error: ")
