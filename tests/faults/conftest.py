"""Where fault tests put their outputs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.builds import MEMORY
from tests.faults.failing_disk import FailingDisk


@pytest.fixture
def out() -> Iterator[Path]:
    """An output's folder, in memory where there is some: a kill does not lose what the kernel holds, and fsync is slow."""
    with tempfile.TemporaryDirectory(prefix="fault-", dir=MEMORY) as folder:
        yield Path(folder) / "out"


@pytest.fixture
def place(out: Path) -> Path:
    """A folder for many outputs, likewise."""
    return out.parent


@pytest.fixture(scope="package")
def disks() -> Iterator[list[FailingDisk]]:
    """Two, for two cores."""
    with FailingDisk() as one, FailingDisk() as other:
        yield [one, other]
