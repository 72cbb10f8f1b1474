"""An output of real CIFAR-10 images for all clients, and an independent reader of its samples."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main
from pipeline.sources.cifar import manifest
from tests.conftest import smooth

RANKS = (3, 5, 10, 20)
VARIANTS = (*(f"rank{k}" for k in RANKS), *(f"highrank{k}" for k in RANKS), "full")
IMAGES = {"data_batch_1": 37, "data_batch_2": 32, "data_batch_3": 32, "data_batch_4": 32, "data_batch_5": 32}
IMAGES |= {"test_batch": 90}
COUNTS = {"train": 165, "test": 90}
SHARDS = {"train": [20] * 8 + [5], "test": [20] * 4 + [10]}
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"


class Sample(NamedTuple):
    """The key, the label and the pixels of a sample, as a client returns them."""

    key: str
    label: int
    pixels: bytes


def sample(key: str, label: Any, image: Any, dtype: type = np.uint8) -> Sample:
    """Returns a sample from a Pillow image or an array of shape (h, w, 3)."""
    if isinstance(image, Image.Image):
        assert image.mode == "RGB"
    array = np.asarray(image)
    assert array.dtype == dtype
    assert array.shape == (32, 32, 3)
    return Sample(key, int(label), array.tobytes())


class Output(NamedTuple):
    """A finished output, and its source: labels, and uint8 (n, 3, 32, 32) pixels by split."""

    root: Path
    labels: dict[str, list[int]]
    pixels: dict[str, np.ndarray]

    def folder(self, variant: str) -> Path:
        return self.root / f"cifar10-{variant}"

    def tars(self, variant: str, split: str) -> list[str]:
        return sorted(map(str, self.folder(variant).glob(f"*-{split}-*.tar")))

    def samples(self, variant: str, split: str) -> list[Sample]:
        """Returns all samples, read with ``tarfile`` and Pillow, with their labels in the *source*."""
        samples = [sample for tar in self.tars(variant, split) for sample in read_tar(Path(tar))]
        assert [sample.key for sample in samples] == [f"{split}-{i:08d}" for i in range(COUNTS[split])]
        return [sample._replace(label=label) for sample, label in zip(samples, self.labels[split], strict=True)]


def read_tar(path: Path) -> list[Sample]:
    with tarfile.open(path) as tar:
        names = tar.getnames()
        pairs = zip(names[::2], names[1::2], strict=True)
        assert all(a.removesuffix(".png") == b.removesuffix(".cls") for a, b in pairs)
        content = [tar.extractfile(name).read() for name in names]  # type: ignore[union-attr]
    return [
        sample(name.removesuffix(".png"), int(label), Image.open(io.BytesIO(png)))
        for name, png, label in zip(names[::2], content[::2], content[1::2], strict=True)
    ]


def same_once(samples: Iterable[Sample], expected: list[Sample]) -> None:
    """Checks that the samples are the expected ones, each exactly once, in any order."""
    actual = sorted(samples)
    assert [sample.key for sample in actual] == [sample.key for sample in expected]
    assert [sample.label for sample in actual] == [sample.label for sample in expected]
    assert [sample.pixels for sample in actual] == [sample.pixels for sample in expected]


def _source(backwards: bool) -> dict[str, np.ndarray]:
    """Returns records (label, 3072 pixels) by batch: real ones, or smooth random ones if the real data is missing."""
    rng = np.random.default_rng(0)
    records = {}
    for batch, count in IMAGES.items():
        real = sorted(REAL.glob(f"{batch}.first*.bin"))
        if real:
            records[batch] = np.fromfile(real[0], np.uint8).reshape(-1, 3073)[:count]
        else:
            pixels = [smooth(rng, 32, 32).transpose(2, 0, 1).ravel() for _ in range(count)]
            records[batch] = np.column_stack([rng.integers(0, 10, count, dtype=np.uint8), np.stack(pixels)])
    return {batch: rows[::-1] for batch, rows in records.items()} if backwards else records


def build_cifar(root: Path, source: Path, *options: str, backwards: bool = False) -> Output:
    """Writes a few images of each batch to ``source``, as the official ones, and builds ``root`` from them.

    Args:
        backwards: reverses every batch. The result has other pixels and labels under the same names, in files of the same
            total size, so that the two builds differ in their content only.
    """
    records = _source(backwards)
    official = manifest.load("cifar10")
    binary = official.layout("binary")
    folder = source / binary.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for file in binary.files:
        content = records[file.batch].tobytes()
        (folder / file.file).write_bytes(content)
        digest = hashlib.md5(content).hexdigest()
        files.append(replace(file, images=IMAGES[file.batch], bytes=len(content), md5=digest))
    layouts = tuple(replace(layout, files=tuple(files)) if layout is binary else layout for layout in official.layouts)
    small = replace(official, layouts=layouts)
    ranks, size = ",".join(map(str, RANKS)), str(SHARDS["train"][0])
    arguments = ["--dataset", "cifar10", "--data-dir", str(source), "--out", str(root), "--samples-per-shard", size]
    arguments += ["--ranks", ranks, "--components", "low,high,full", "--workers", "0", "--quiet", *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "load", lambda dataset: small)
        assert main(arguments) == 0
    by_split = {
        split: np.concatenate([records[file.batch] for file in binary.files if file.split == split]) for split in COUNTS
    }
    labels = {split: rows[:, 0].tolist() for split, rows in by_split.items()}
    pixels = {split: rows[:, 1:].reshape(-1, 3, 32, 32) for split, rows in by_split.items()}
    return Output(root, labels, pixels)


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """165 train and 90 test images in shards of 20, ranks 3, 5, 10 and 20, low, high and full. Read it only."""
    folder = tmp_path_factory.mktemp("clients")
    return build_cifar(folder / "out" / "cifar10", folder / "source")


@pytest.fixture
def rebuilt(tmp_path: Path) -> Callable[[bool], Output]:
    """Returns a function that builds the same output again, forwards or backwards."""

    def build(backwards: bool) -> Output:
        options = ("--overwrite", "--ranks", "5", "--components", "low,full")
        return build_cifar(tmp_path / "out" / "cifar10", tmp_path / "source", *options, backwards=backwards)

    return build


def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives mlcroissant an empty cache: it unpacks archives into it by their relative names, and never again."""
    from etils import epath

    cache = epath.Path(folder / "croissant")
    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", cache / "extract")
    monkeypatch.setattr("mlcroissant._src.core.constants.DOWNLOAD_PATH", cache / "download")
