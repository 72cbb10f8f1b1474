"""Promise: RobustBench's loaders read ``export --format cifar-c`` and ``imagenet-c`` unchanged.

Pixels and labels are compared with the source and with float64 LAPACK, not with the output's files.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main as build
from pipeline.export import main as export
from pipeline.sources.cifar import manifest
from tests.clients import apart
from tests.clients.test_torchvision import run_apart
from tests.conftest import make_official

HERE = Path(__file__).parent
RANKS = (20, 10, 8, 5, 3)  # of low_rank, mildest first
ROBUSTBENCH = apart.FOLDER / "robustbench"
pytestmark = pytest.mark.skipif(not ROBUSTBENCH.is_dir(), reason="the Makefile has not installed robustbench")


def low(planes: np.ndarray, rank: int) -> np.ndarray:
    """Returns clip(rint(A_k), 0, 255) of uint8 (..., h, w) planes, by LAPACK."""
    u, s, v = np.linalg.svd(planes.astype(np.float64), full_matrices=False)
    levels: np.ndarray = np.clip(np.rint((u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]), 0, 255)
    return levels


def load(folder: Path) -> dict[str, np.ndarray]:
    run_apart(HERE / "robustbench_c.py", folder, folder / "loaded.npz")
    with np.load(folder / "loaded.npz") as arrays:
        return dict(arrays)


def test_load_cifar10c_reads_five_ranks_of_ten_thousand_images(
    cifar_planes: Callable[[int], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test batch of 10,000 lossless images, some of them several times."""
    planes = np.resize(cifar_planes(10**4).reshape(-1, 3072), (10**4, 3072))
    labels = np.random.default_rng(0).integers(0, 10, 10**4, dtype=np.uint8)
    official = manifest.load("cifar10")
    binary = official.layout("binary")
    (tmp_path / binary.folder).mkdir()
    for file in binary.files:
        rows = np.column_stack([labels, planes])[: 10**4 if file.split == "test" else 1]
        (tmp_path / binary.folder / file.file).write_bytes(rows.tobytes())
    files = tuple(replace(f, images=10**4 if f.split == "test" else 1, md5="") for f in binary.files)
    files = tuple(replace(f, bytes=f.images * 3073) for f in files)
    layouts = tuple(replace(layout, files=files) if layout is binary else layout for layout in official.layouts)
    make_official(replace(official, layouts=layouts), monkeypatch)
    job = [
        "--dataset",
        "cifar10",
        "--data-dir",
        str(tmp_path),
        "--ranks",
        ",".join(map(str, RANKS)),
        "--order",
        "shuffled",
    ]
    job += ["--components", "low", "--splits", "test", "--allow-unverified", "--workers", "0", "--quiet"]
    assert build([*job, "--out", str(tmp_path / "out")]) == 0
    to = str(tmp_path / "CIFAR-10-C")
    assert export([str(tmp_path / "out"), "--format", "cifar-c", "--to", to, "--quiet"]) == 0
    loaded = load(tmp_path)
    for severity, rank in enumerate(RANKS, 1):
        assert loaded[f"cifar labels{severity}"].tolist() == labels[:300].tolist()
        expected = low(planes[:300].reshape(-1, 3, 32, 32), rank)
        np.testing.assert_array_equal(np.rint(255 * loaded[f"cifar{severity}"]), expected)
    assert {path.name for path in Path(to).iterdir()} == {"low_rank.npy", "labels.npy", "README.txt"}
    stored = np.load(tmp_path / "CIFAR-10-C" / "low_rank.npy", mmap_mode="r")
    assert (stored.shape, stored.dtype) == ((50_000, 32, 32, 3), np.uint8)
    assert np.load(tmp_path / "CIFAR-10-C" / "labels.npy").tolist() == np.tile(labels, 5).tolist()


def test_load_imagenetc_reads_the_names_of_its_list(shared: Path, tmp_path: Path) -> None:
    """RobustBench reads 5,000 images that it lists by name. This source has one of each synset, and the first twelve."""
    listed = (ROBUSTBENCH / "helper_files" / "imagenet_test_image_ids.txt").read_text().split()
    names = dict.fromkeys(listed[:12]) | {}
    names |= dict.fromkeys({name.partition("/")[0]: name for name in listed[12:]}.values())
    photographs = []
    for path in sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:15]:
        small = Image.open(path).convert("RGB").resize((40, 40), Image.Resampling.BILINEAR)
        photographs.append(np.asarray(small))
    pixels = {}
    for number, name in enumerate(names):
        pixels[name] = np.roll(photographs[number % 15], number, axis=1)
        content = io.BytesIO()
        Image.fromarray(pixels[name]).save(content, "PNG")
        path = tmp_path / "imagenet" / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())
    job = ["--dataset", "imagenet", "--data-dir", str(tmp_path / "imagenet"), "--ranks", ",".join(map(str, RANKS))]
    job += ["--components", "high", "--resize", "native", "--crop", "none", "--workers", "0", "--quiet"]
    assert build([*job, "--out", str(tmp_path / "out")]) == 0
    to = str(tmp_path / "ImageNet-C")
    assert export([str(tmp_path / "out"), "--format", "imagenet-c", "--to", to, "--quiet"]) == 0
    loaded = load(tmp_path)
    synsets = sorted({name.partition("/")[0] for name in listed})
    assert len(synsets) == 997  # of three classes it lists no image
    planes = np.stack([pixels[name].transpose(2, 0, 1) for name in listed[:12]]).astype(np.float64)
    for severity, rank in enumerate(sorted(RANKS), 1):
        assert loaded[f"imagenet labels{severity}"].tolist() == [synsets.index(name[:9]) for name in listed[:12]]
        u, s, v = np.linalg.svd(planes, full_matrices=False)
        removed = np.rint((u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :])
        expected = np.clip(planes - removed + 128, 0, 255)
        np.testing.assert_array_equal(np.rint(255 * loaded[f"imagenet{severity}"]), expected)
