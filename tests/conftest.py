"""What tests share: commands run in this process, and small sources written without the project's code."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main
from pipeline.sources.cifar import manifest
from pipeline.sources.cifar.manifest import CifarManifest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when datasets is imported

CIFAR_IMAGES = 20  # of each batch of the small CIFAR-10


class Result(NamedTuple):
    """What a command did: its exit status, and the lines that it wrote."""

    status: int
    out: str
    err: str


Build = Callable[..., Result]


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Build:
    """``python -m pipeline.build`` in this process, with ``--workers 0`` and ``--quiet`` unless told otherwise."""

    def run(*arguments: object) -> Result:
        given = [str(argument) for argument in arguments]
        given += [] if "--workers" in given else ["--workers", "0"]
        capsys.readouterr()
        status = main([*given, "--quiet"])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def refused(build: Build) -> Callable[..., str]:
    """Runs a command that must be refused; gives its one line. Pass ``status`` where it is not 2."""

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
    """The folder of real data beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "cifar10").is_dir():
        pytest.skip("the real data of ../shared is not here")
    return folder


@pytest.fixture(scope="session")
def cifar_planes(shared: Path) -> Callable[[int], np.ndarray]:
    """Gives uint8 (3 n, 32, 32): the planes of the first n lossless CIFAR-10 images at hand."""

    def planes(count: int) -> np.ndarray:
        files = sorted((shared / "data" / "cifar10").glob("*.bin"))
        records: np.ndarray = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files])
        return records[:count, 1:].reshape(-1, 32, 32)

    return planes


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (h, w, 3): an image with a photograph's falling spectrum."""
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy: np.ndarray = np.clip(soft + rng.integers(-12, 13, soft.shape), 0, 255).astype(np.uint8)
    return noisy


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``<folder>/<class>/<number>.png``, smooth images; gives the folder."""

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
    """A folder with the binary layout, and what was written: labels uint8 (n,), pixels uint8 (n, 3, 32, 32) by split."""

    folder: Path
    labels: dict[str, np.ndarray]
    pixels: dict[str, np.ndarray]


@pytest.fixture
def cifar_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    """A CIFAR-10 of 20 images a batch in the binary layout; its files count as the official ones."""
    official = manifest.load("cifar10")
    binary = official.layout("binary")
    rng = np.random.default_rng(7)
    files, parts = [], []
    folder = tmp_path / "cifar" / binary.folder
    folder.mkdir(parents=True)
    for known in binary.files:
        labels = rng.integers(0, 10, CIFAR_IMAGES, dtype=np.uint8)
        pixels = np.stack([smooth(rng, 32, 32).transpose(2, 0, 1) for _ in labels])
        content = np.column_stack([labels, pixels.reshape(CIFAR_IMAGES, -1)]).tobytes()
        (folder / known.file).write_bytes(content)
        digest = hashlib.md5(content).hexdigest()
        files.append(replace(known, images=CIFAR_IMAGES, bytes=len(content), md5=digest))
        parts.append((known.split, labels, pixels))
    layouts = tuple(replace(one, files=tuple(files)) if one is binary else one for one in official.layouts)
    small = replace(official, layouts=layouts)

    def load(dataset: str) -> CifarManifest:
        assert dataset == "cifar10"
        return small

    monkeypatch.setattr(manifest, "load", load)
    splits = ("train", "test")
    return SmallCifar(
        tmp_path / "cifar",
        {split: np.concatenate([labels for of, labels, _ in parts if of == split]) for split in splits},
        {split: np.concatenate([pixels for of, _, pixels in parts if of == split]) for split in splits},
    )


Files = dict[str, bytes]


def contents(out: Path, build_too: bool = False) -> Files:
    """Every file of an output by its name, ``.build`` left out."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if build_too or not name.startswith(".build/")}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file of an output, ``.build`` left out."""
    found = {path.relative_to(out).as_posix(): path.stat() for path in out.rglob("*") if path.is_file()}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in found.items() if not name.startswith(".build/")}
