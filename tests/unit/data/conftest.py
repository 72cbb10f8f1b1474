"""Outputs for the tests of the training side, and a second reader of shards: Python's tarfile and Pillow."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main
from pipeline.export import main as export_command
from tests.conftest import make_official, write_small_cifar


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an output of 100 train and 20 test images in shards of 40 samples. Do not change it: ``out`` is a copy."""
    folder = tmp_path_factory.mktemp("data")
    small, manifest = write_small_cifar(folder / "cifar")
    job = ["--dataset", "cifar10", "--data-dir", str(small.folder), "--samples-per-shard", "40"]
    job += ["--ranks", "5", "--components", "low,high,full", "--workers", "0", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        make_official(manifest, patch)
        assert main([*job, "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """Returns a copy of ``built``, which a test may change."""
    return Path(shutil.copytree(built, tmp_path / "out"))


class Samples(NamedTuple):
    """The samples of one split of one variant. ``members`` are image files as bytes."""

    keys: list[str]
    members: list[bytes]
    labels: list[int]

    @property
    def images(self) -> np.ndarray:
        """The decoded images, uint8 (n, h, w, 3)."""
        return np.stack([np.asarray(Image.open(io.BytesIO(member))) for member in self.members])


def read_shards(out: Path, variant: str, split: str, name: str = "cifar10") -> Samples:
    """Reads the samples of a split with ``tarfile``, in the order of shards and members."""
    samples = Samples([], [], [])
    for path in sorted((out / f"{name}-{variant}").glob(f"*-{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                key, _, suffix = member.name.rpartition(".")
                if suffix == "cls":
                    samples.labels.append(int(file.read()))
                else:
                    samples.keys.append(key)
                    samples.members.append(file.read())
    return samples


Edit = Callable[[Callable[[dict[str, Any]], object]], None]


@pytest.fixture
def edit(out: Path) -> Edit:
    """Returns a function that applies a change to the manifest of ``out`` and writes the manifest."""

    def apply(change: Callable[[dict[str, Any]], object]) -> None:
        manifest = json.loads((out / "manifest.json").read_text())
        change(manifest)
        (out / "manifest.json").write_text(json.dumps(manifest))

    return apply


Export = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Export:
    """Returns a function that runs the command ``export`` in this process. It returns exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = export_command([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def exact_out(out: Path, edit: Edit) -> Path:
    """Returns ``out`` with a variant ``rank5-exact``, written by ``tarfile`` and ``np.save``: the bytes of rank5 / 510."""
    folder = out / "cifar10-rank5-exact"
    folder.mkdir()

    def add(manifest: dict[str, Any]) -> None:
        variant = json.loads(json.dumps(manifest["variants"]["rank5"]))
        variant |= {"folder": folder.name, "form": "npy"}
        for split in variant["splits"].values():
            for shard in split["shards"]:
                source = out / shard["name"]
                shard["name"] = shard["name"].replace("cifar10-rank5", folder.name)
                write_exact(source, out / shard["name"])
                shard["bytes"] = (out / shard["name"]).stat().st_size
        manifest["variants"]["rank5-exact"] = variant

    edit(add)
    return out


def write_exact(source: Path, target: Path) -> None:
    """Writes a shard of float32 images, and its index, from a shard of PNG files."""
    lines = []
    with tarfile.open(source) as tar, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as copy:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            content = file.read()
            if member.name.endswith(".png"):
                buffer = io.BytesIO()
                np.save(buffer, np.asarray(Image.open(io.BytesIO(content)), np.float32) / 510)
                content, member.name = buffer.getvalue(), member.name.replace(".png", ".npy")
            member.size = len(content)
            start = copy.offset + 512
            copy.addfile(member, io.BytesIO(content))
            lines.append(f"{member.name[-3:]} {start} {member.size} {member.name}")
    pairs = [f"{image} {label}\n" for image, label in zip(lines[::2], lines[1::2], strict=True)]
    target.with_suffix(".idx").write_text(f"v1.2 {len(pairs)}\n" + "".join(pairs))
