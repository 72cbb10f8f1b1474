"""Promises of ``spectra.zarr``: Zarr opens it, and its rows are the singular values of numpy's float64 SVD."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from pipeline.formats import spectra
from pipeline.numerics import svd
from tests.conftest import Build, SmallCifar, contents


def reference(pixels: np.ndarray) -> np.ndarray:
    """Returns float64 (n, 3, min(h, w)): the singular values of ``pixels``, uint8 (n, 3, h, w), scaled to [0, 1]."""
    return np.linalg.svd(pixels / 255, compute_uv=False)


def assert_within_the_stated_error(values: np.ndarray, pixels: np.ndarray) -> None:
    exact = reference(pixels)
    allowed = 1.5e-8 * np.sqrt(exact.shape[-1]) * exact[..., :1] + 6e-8 * exact
    assert values.dtype == np.float32
    assert values.shape == exact.shape
    assert (np.abs(values - exact) <= allowed).all()


def test_rows_are_the_singular_values_of_numpy_in_output_order(
    build: Build, cifar_binary: SmallCifar, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5", "--samples-per-shard", "30")
    assert build(*job, "--out", out).status == 0
    group = zarr.open_group(str(out / "spectra.zarr"), mode="r")
    assert sorted(group.array_keys()) == ["test", "train"]
    for split, pixels in cifar_binary.pixels.items():
        assert_within_the_stated_error(np.asarray(group[split]), pixels)


def test_rows_follow_a_shuffled_order(build: Build, cifar_binary: SmallCifar, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5", "--order", "shuffled")
    assert build(*job, "--out", out, "--limit", "17").status == 0
    listed = [json.loads(line) for line in (out / "samples" / "train.jsonl").read_text().splitlines()]
    places = [int(sample["key"].rpartition("-")[2]) for sample in listed]
    assert len(places) == 17
    assert places != sorted(places)
    rows = np.asarray(zarr.open_group(str(out / "spectra.zarr"), mode="r")["train"])
    assert_within_the_stated_error(rows, cifar_binary.pixels["train"][places])


def test_the_error_is_as_stated_on_every_real_image(cifar_planes: Callable[[int], np.ndarray]) -> None:
    planes = cifar_planes(1500)
    values = (svd.decompose(planes).values / 255).astype(np.float32)
    assert_within_the_stated_error(values.reshape(-1, 3, 32), planes.reshape(-1, 3, 32, 32))


def test_the_error_is_as_stated_on_larger_images() -> None:
    size = 224
    plane = np.full((size, size), 255, np.uint8)
    plane[:2, :2] -= np.array([[55, 34], [89, 55]], np.uint8)  # determinant 1: sigma_3 is 1.4e-7 sigma_1, not 0
    pixels = np.stack([plane] * 3)
    values = (svd.decompose(pixels).values / 255).astype(np.float32)
    assert_within_the_stated_error(values[None], pixels[None])


def test_metadata_is_the_same_every_time() -> None:
    assert spectra.metadata({"train": 10}, 4, 6) == spectra.metadata({"train": 10}, 4, 6)


def test_rejected_images_are_rows_of_nan(build: Build, pictures: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = pictures(), tmp_path / "out"
    image = folder / "a" / "02.png"
    image.write_bytes(image.read_bytes()[:-100])
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--order", "source", "--out", out)
    assert build(*job).status == 3
    rows = np.asarray(zarr.open_group(str(out / "spectra.zarr"), mode="r")["train"])
    assert np.isnan(rows).all((1, 2)).tolist() == [False, False, True, False, False, False, False, False]
    assert not np.isnan(np.delete(rows, 2, axis=0)).any()


def test_values_are_the_same_whichever_variants_are_built(build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--limit", "12")
    assert build(*job, "--components", "full", "--out", tmp_path / "one").status == 0
    assert build(*job, "--ranks", "3,7", "--out", tmp_path / "two").status == 0
    first, second = (
        {name: data for name, data in contents(tmp_path / out).items() if name.startswith("spectra.zarr")}
        for out in ("one", "two")
    )
    assert first == second
    assert len(first) == 5
