"""Fixtures of all tests: commands run in this process, and small sources written without the project's code.

The settings of hypothesis and the distribution over the processes of pytest-xdist are here, too.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from PIL import Image

from pipeline.build import main
from pipeline.sources.cifar import manifest
from pipeline.sources.cifar.manifest import CifarManifest
from tests.memory import folder_in_memory

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when datasets is imported

CIFAR_IMAGES = 20  # of each batch of the small CIFAR-10

# The first call of a compiled function, or a busy machine, says nothing about the example that was drawn.
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("full", parent=settings.get_profile("ci"), max_examples=1000)
settings.load_profile("ci")

# The groups that take longest, which start first. The other tests are grouped by file.
LONG_GROUPS = (
    "ray",
    "cluster",
    "tests/faults/test_every_operation.py",
    "tests/faults/test_power.py",
    "documents",
)
_TEMPORARY = 2**32  # bytes; what the tests leave in ``tmp_path`` takes about a quarter of it


def pytest_configure(config: pytest.Config) -> None:
    """Puts ``tmp_path`` in memory if there is room, and compiles the loops once for all processes of pytest-xdist."""
    if folder := folder_in_memory(_TEMPORARY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        load = "from pipeline.execution import compiled_loops; compiled_loops.load(quiet=True)"
        subprocess.run([sys.executable, "-c", load], check=True)


def examples(count: int) -> settings:
    """Returns the settings of a law with slow examples: ``count`` in profile ``ci``, ten times as many in ``full``."""
    profile = settings.get_profile(settings.get_current_profile_name())
    return settings(max_examples=count * profile.max_examples // 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the laws as ``full`` in that profile, assigns each test to a group, and orders the groups.

    A group runs in one process of pytest-xdist. Tests that start a local Ray share a group, and so do those of clusters:
    two Rays at a time are enough for the cores and the memory of a small machine. They are two groups, because a process
    whose Ray has met a cluster cannot start a local Ray any more (Ray keeps the token of its first connection). Without
    pytest-xdist the tests of clusters come last.
    """
    for item in items:
        if settings.get_current_profile_name() == "full" and is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("full")
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: (_place(item) if "PYTEST_XDIST_WORKER" in os.environ else 0, _of_clusters(item)))


def _group(item: pytest.Item) -> str:
    if _of_clusters(item):
        return "cluster"
    return "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]


def _of_clusters(item: pytest.Item) -> bool:
    return item.nodeid.startswith("tests/cluster/")


def _place(item: pytest.Item) -> int:
    """The place of a test's group in ``LONG_GROUPS``."""
    mark = item.get_closest_marker("xdist_group")
    return LONG_GROUPS.index(mark.args[0]) if mark and mark.args[0] in LONG_GROUPS else len(LONG_GROUPS)


class Result(NamedTuple):
    """The result of a command: its exit status, and the text that it wrote to standard output and standard error."""

    status: int
    out: str
    err: str


Build = Callable[..., Result]


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Build:
    """Runs ``python -m pipeline.build`` in this process with ``--quiet``, and ``--workers 0`` unless another is given."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        words += [] if "--workers" in words else ["--workers", "0"]
        capsys.readouterr()
        status = main([*words, "--quiet"])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def refused(build: Build) -> Callable[..., str]:
    """Runs a build that must be refused, and returns its one line. Pass ``status`` where it is not 2."""

    def run(*arguments: object, status: int = 2) -> str:
        result = build(*arguments)
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
        assert result.err.endswith("\n")
        assert result.status == status
        return result.err.removeprefix("error: ").rstrip("\n")

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project. Tests that need it are skipped where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "cifar10").is_dir():
        pytest.skip("the real data of ../shared is missing")
    return folder


@pytest.fixture(scope="session")
def cifar_planes(shared: Path) -> Callable[[int], np.ndarray]:
    """Returns uint8 (3 n, 32, 32): the planes of the first n lossless CIFAR-10 images in ``shared``."""

    def planes(count: int) -> np.ndarray:
        files = sorted((shared / "data" / "cifar10").glob("*.bin"))
        records: np.ndarray = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files])
        return records[:count, 1:].reshape(-1, 32, 32)

    return planes


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns uint8 (h, w, 3): a random image whose spectrum falls like a photograph's."""
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy: np.ndarray = np.clip(soft + rng.integers(-12, 13, soft.shape), 0, 255).astype(np.uint8)
    return noisy


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes smooth images as ``<folder>/<class>/<number>.png``, and returns the folder."""

    def write(
        folder: str = "pictures", classes: str = "ab", each: int = 4, size: tuple[int, int] = (12, 12), seed: int = 0
    ) -> Path:
        rng = np.random.default_rng(seed)
        for name in classes:
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(each):
                Image.fromarray(smooth(rng, *size)).save(tmp_path / folder / name / f"{number:02d}.png")
        return tmp_path / folder

    return write


class SmallCifar(NamedTuple):
    """A small CIFAR-10 in the binary layout.

    Attributes:
        folder: what ``--data-dir`` takes.
        labels: uint8 (n,) by split.
        pixels: uint8 (n, 3, 32, 32) by split.
    """

    folder: Path
    labels: dict[str, np.ndarray]
    pixels: dict[str, np.ndarray]


def write_small_cifar(parent: Path) -> tuple[SmallCifar, CifarManifest]:
    """Writes a CIFAR-10 of 20 images a batch below ``parent``. In the returned manifest its files are the official ones."""
    official = manifest.load("cifar10")
    binary = official.layout("binary")
    rng = np.random.default_rng(7)
    files, batches = [], []
    folder = parent / binary.folder
    folder.mkdir(parents=True)
    for batch in binary.files:
        labels = rng.integers(0, 10, CIFAR_IMAGES, dtype=np.uint8)
        pixels = np.stack([smooth(rng, 32, 32).transpose(2, 0, 1) for _ in labels])
        content = np.column_stack([labels, pixels.reshape(CIFAR_IMAGES, -1)]).tobytes()
        (folder / batch.file).write_bytes(content)
        digest = hashlib.md5(content).hexdigest()
        files.append(replace(batch, images=CIFAR_IMAGES, bytes=len(content), md5=digest))
        batches.append((batch.split, labels, pixels))
    layouts = tuple(replace(layout, files=tuple(files)) if layout is binary else layout for layout in official.layouts)
    splits = ("train", "test")
    small = SmallCifar(
        parent,
        {split: np.concatenate([labels for of, labels, _ in batches if of == split]) for split in splits},
        {split: np.concatenate([pixels for of, _, pixels in batches if of == split]) for split in splits},
    )
    return small, replace(official, layouts=layouts)


def make_official(small: CifarManifest, patch: pytest.MonkeyPatch) -> None:
    """Makes the build treat the files of ``small`` as the official CIFAR-10."""

    def load(dataset: str) -> CifarManifest:
        assert dataset == "cifar10"
        return small

    patch.setattr(manifest, "load", load)


@pytest.fixture
def cifar_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    """A small CIFAR-10, which the build treats as the official one."""
    small, small_manifest = write_small_cifar(tmp_path / "cifar")
    make_official(small_manifest, monkeypatch)
    return small


Files = dict[str, bytes]


def contents(out: Path, build_too: bool = False) -> Files:
    """Returns the bytes of every file of an output by its name, those of ``.build`` only with ``build_too``."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if build_too or not name.startswith(".build/")}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Returns the inode and the modification time of every file of an output by its name, without ``.build``."""
    files = {path.relative_to(out).as_posix(): path.stat() for path in out.rglob("*") if path.is_file()}
    return {name: (file.st_ino, file.st_mtime_ns) for name, file in files.items() if not name.startswith(".build/")}
