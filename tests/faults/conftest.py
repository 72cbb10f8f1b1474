"""Folders for the outputs of fault tests."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.builds import MEMORY
from tests.faults.failing_disk import FailingDisk


@pytest.fixture
def out() -> Iterator[Path]:
    """Returns the folder of an output, in memory if possible: kills do not lose what the kernel holds, and fsync is slow."""
    with tempfile.TemporaryDirectory(prefix="fault-", dir=MEMORY) as folder:
        yield Path(folder) / "out"


@pytest.fixture
def place(out: Path) -> Path:
    """Returns a folder for many outputs, in memory if possible."""
    return out.parent


@pytest.fixture(scope="package")
def disks() -> Iterator[list[FailingDisk]]:
    """Two servers for two cores; one where pytest-xdist runs a process on each core already."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FailingDisk()) for _ in range(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)]
