"""Promise: shards are plain tars of plain PNG.

GNU tar, ``tarfile`` and Pillow read them, and find the labels of the source and the pixels that NumPy computes.
"""

import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.clients.conftest import COUNTS, SHARDS, VARIANTS, Output

tar = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")


def expected(cifar: Output, variant: str, split: str) -> np.ndarray:
    """Returns the pixels of a variant by ``numpy.linalg.svd`` of the source, uint8 (n, 32, 32, 3)."""
    pixels = cifar.pixels[split]
    if variant == "full":
        return pixels.transpose(0, 2, 3, 1)
    rank = int(variant.removeprefix("high").removeprefix("rank"))
    left, sigma, right = np.linalg.svd(pixels / 255)
    rounded = np.rint(255 * ((left[..., :rank] * sigma[..., None, :rank]) @ right[..., :rank, :]))
    exact = pixels - rounded + 128 if variant.startswith("high") else rounded
    clipped: np.ndarray = np.clip(exact, 0, 255).astype(np.uint8)
    return clipped.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_tarfile_and_pillow_read_every_image_in_order_with_its_label_in_the_source(
    variant: str, split: str, cifar: Output
) -> None:
    samples = cifar.samples(variant, split)  # keys and order are checked there
    pixels = np.stack([np.frombuffer(sample.pixels, np.uint8).reshape(32, 32, 3) for sample in samples])
    np.testing.assert_array_equal(pixels, expected(cifar, variant, split))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_label_member_is_the_label_of_the_source(variant: str, split: str, cifar: Output) -> None:
    texts = []
    for path in cifar.tars(variant, split):
        with tarfile.open(path) as shard:
            members = [member for member in shard if member.name.endswith(".cls")]
            texts += [shard.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    assert texts == [str(label).encode() for label in cifar.labels[split]]


@tar
@pytest.mark.parametrize("split", ["train", "test"])
def test_gnu_tar_lists_png_and_cls_of_each_sample_side_by_side(split: str, cifar: Output) -> None:
    listed, counts = [], []
    for path in cifar.tars("highrank10", split):
        done = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        listed += done.stdout.splitlines()
        counts.append(len(done.stdout.splitlines()) // 2)
    assert listed == [f"{split}-{i:08d}.{kind}" for i in range(COUNTS[split]) for kind in ("png", "cls")]
    assert counts == SHARDS[split]


@tar
def test_gnu_tar_extracts_what_tarfile_reads(cifar: Output, tmp_path: Path) -> None:
    for path in cifar.tars("rank5", "train"):
        done = subprocess.run(["tar", "xf", path, "-C", str(tmp_path)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        with tarfile.open(path) as shard:
            for member in shard:
                assert (tmp_path / member.name).read_bytes() == shard.extractfile(member).read()  # type: ignore[union-attr]
    assert len(list(tmp_path.iterdir())) == 2 * COUNTS["train"]
