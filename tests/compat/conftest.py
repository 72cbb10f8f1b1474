"""Fixtures: the stored outputs of all formats, and the ten small random images that they were built from."""

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.build import main as build

JOB = [
    "--dataset",
    "folder",
    "--name",
    "shapes",
    "--ranks",
    "2,5",
    "--bands",
    "2:5",
    "--radii",
    "3",
    "--exact",
    "--factors",
]
JOB += ["--components", "low,high,full", "--samples-per-shard", "4", "--workers", "0", "--quiet"]
SINCE_CROISSANT = "croissant.json"  # files that outputs of formats 1 and 2 did not have at first
REJECTS = 3  # exit status of a build that is complete except for images it could not read


def run(command: Callable[[list[str]], int], *arguments: object) -> int:
    return command([str(argument) for argument in arguments])


def unpack(archive: str, folder: Path) -> Path:
    with tarfile.open(Path(__file__).with_name(archive)) as opened:
        opened.extractall(folder, filter="data")
    return folder


def digests(out: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of an output, without ``.build``."""
    files = (path for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0] != ".build")
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``pictures`` and the output ``shapes`` of format 1. Read it only."""
    return unpack("format1.tar.xz", tmp_path_factory.mktemp("format1"))


@pytest.fixture(scope="session")
def pictures(unpacked: Path) -> Path:
    return unpacked / "pictures"


@pytest.fixture(scope="session")
def today(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output that this version builds of the same images. Read it only."""
    out = tmp_path_factory.mktemp("today") / "shapes"
    assert run(build, *JOB, "--data-dir", pictures, "--out", out) == REJECTS
    return out
