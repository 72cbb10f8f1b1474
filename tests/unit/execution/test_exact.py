"""Promises of ``--exact`` and ``--factors``: float32 images of true rank k, and triplets that give any rank."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.numerics import cpu, svd
from pipeline.numerics.batch import Place
from pipeline.planning.record import RECORDS
from tests.conftest import Build, SmallCifar, contents

RANKS = (3, 5, 20)


def members(out: Path, variant: str, split: str = "train") -> dict[str, bytes]:
    """Returns every member of a variant's shards, read by Python's tarfile."""
    found = {}
    for path in sorted((out / f"cifar10-{variant}").glob(f"*-{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def images(out: Path, variant: str, split: str = "train") -> np.ndarray:
    """Returns the images of a variant in order, float32 (n, h, w, 3)."""
    npy = {name: data for name, data in members(out, variant, split).items() if name.endswith(".npy")}
    return np.stack([np.load(io.BytesIO(data), allow_pickle=False) for data in npy.values()])


@pytest.fixture
def job(cifar_binary: SmallCifar) -> tuple[object, ...]:
    base = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--samples-per-shard", 30)
    return (*base, "--ranks", ",".join(map(str, RANKS)))


def test_exact_images_have_rank_k_and_add_up_to_the_source(
    build: Build, job: tuple[object, ...], cifar_binary: SmallCifar, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert build(*job, "--exact", "--out", out).status == 0
    for split, pixels in cifar_binary.pixels.items():
        source = pixels.transpose(0, 2, 3, 1)
        left, sigma, right = np.linalg.svd(pixels / 255, full_matrices=False)
        for rank in RANKS:
            low, high = images(out, f"rank{rank}-exact", split), images(out, f"highrank{rank}-exact", split)
            assert low.dtype == high.dtype == np.float32
            assert low.shape == high.shape == source.shape
            assert np.abs(255 * (low.astype(np.float64) + high) - source).max() < 1e-4
            values = np.linalg.svd(low.transpose(0, 3, 1, 2).astype(np.float64), compute_uv=False)
            assert (values[..., rank] < 1e-6 * values[..., 0]).all()
            unique = sigma[..., rank - 1] - sigma[..., rank] > 1e-6 * sigma[..., 0]
            exact = (left[..., :rank] * sigma[..., None, :rank]) @ right[..., :rank, :]
            apart = np.abs(low.transpose(0, 3, 1, 2) - exact).max(axis=(2, 3))
            assert apart[unique].max() < 1e-6
            assert unique.mean() > 0.9
    manifest = json.loads((out / "manifest.json").read_bytes())
    described = manifest["variants"]["rank5-exact"]["splits"]["train"]
    low = images(out, "rank5-exact").astype(np.float64)
    np.testing.assert_allclose(described["mean"], low.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(described["std"], low.std(axis=(0, 1, 2)), atol=1e-6)
    assert described["clipped"] == 0
    assert (manifest["variants"]["rank5-exact"]["form"], manifest["variants"]["rank5"]["form"]) == ("npy", "png")


def test_exact_shards_and_factors_can_be_added_later(build: Build, job: tuple[object, ...], tmp_path: Path) -> None:
    at_once, later = tmp_path / "once", tmp_path / "later"
    assert build(*job, "--exact", "--factors", "--out", at_once).status == 0
    assert build(*job, "--out", later).status == 0
    before = {name: data for name, data in contents(later).items() if name.endswith(".tar")}
    changed = {name: (later / name).stat().st_mtime_ns for name in before}
    assert build(*job, "--factors", "--out", later).status == 0
    assert build(*job, "--exact", "--out", later).status == 0  # what is there of factors stays
    assert contents(at_once) == contents(later)
    assert {name: (later / name).stat().st_mtime_ns for name in before} == changed


def test_exact_bytes_do_not_depend_on_the_batch(
    build: Build, job: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = [tmp_path / "one", tmp_path / "other"]
    for out, pixels in zip(outs, (1 << 16, 3 * 1024), strict=True):
        monkeypatch.setattr("pipeline.execution.gpus.choose.HERE", Place(batch_pixels=pixels))
        assert build(*job, "--exact", "--factors", "--out", out).status == 0
    assert contents(outs[0]) == contents(outs[1])


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 0.001), ("float16", 0.5)])
def test_factors_give_every_rank_within_the_stated_error(
    build: Build, job: tuple[object, ...], cifar_binary: SmallCifar, tmp_path: Path, dtype: str, allowed: float
) -> None:
    out = tmp_path / "out"
    assert build(*job, "--factors", dtype, "--out", out).status == 0
    group = zarr.open_group(str(out / "factors.zarr"), mode="r")
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (manifest["factors"]["rank"], manifest["factors"]["dtype"]) == (20, dtype)
    for split, pixels in cifar_binary.pixels.items():
        u, s, v = (np.asarray(group[f"{split}/{name}"]) for name in "usv")
        assert (u.shape, s.shape, v.shape) == ((len(pixels), 3, 32, 20), (len(pixels), 3, 20), (len(pixels), 3, 32, 20))
        assert [u.dtype, s.dtype, v.dtype] == [np.dtype(dtype), np.dtype("float32"), np.dtype(dtype)]
        left, sigma, right = np.linalg.svd(pixels / 255, full_matrices=False)
        for rank in (1, 2, 7, 20):
            ours = (u[..., :rank].astype(np.float64) * s[..., None, :rank]) @ v[..., :rank].swapaxes(2, 3)
            exact = (left[..., :rank] * sigma[..., None, :rank]) @ right[..., :rank, :]
            unique = sigma[..., rank - 1] - sigma[..., rank] > 1e-6 * sigma[..., 0]
            assert 255 * np.abs(ours - exact).max(axis=(2, 3))[unique].max() < allowed


def factors(planes: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    triplets = cpu.solve(planes, (), rank).factors
    assert triplets
    return triplets


@pytest.mark.parametrize("shape", [(32, 32), (31, 33), (40, 20), (20, 40), (224, 224)])
def test_factors_are_orthonormal_whichever_side_is_larger(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(6, shape[0], 4)) @ rng.normal(size=(6, 4, shape[1])) * 20
    planes = np.clip(128 + smooth + rng.normal(0, 3, (6, *shape)), 0, 255).astype(np.uint8)
    rank = min(shape) // 2
    u, s, v = factors(planes, rank)
    assert (u.shape, s.shape, v.shape) == ((6, shape[0], rank), (6, rank), (6, shape[1], rank))
    for side in (u, v):
        np.testing.assert_allclose(
            side.swapaxes(1, 2) @ side, np.broadcast_to(np.eye(rank), (6, rank, rank)), atol=1e-6
        )
    np.testing.assert_allclose(s, np.linalg.svd(planes / 255, compute_uv=False)[:, :rank], rtol=1e-6)


def test_factors_of_flat_and_equal_valued_planes_are_finite_and_right() -> None:
    flat = np.full((32, 32), 7, np.uint8)
    checker = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
    identity = (np.eye(32) * 255).astype(np.uint8)
    planes = np.stack([np.zeros_like(flat), flat, checker, identity])
    u, s, v = factors(planes, 31)
    assert np.isfinite(u).all() and np.isfinite(v).all()
    whole = (u * s[:, None]) @ v.swapaxes(1, 2) * 255
    np.testing.assert_allclose(whole[:3], planes[:3], atol=1e-6)
    assert abs(np.linalg.norm(planes[3] - whole[3]) - 255) < 1e-6


def test_more_or_other_factors_are_refused(build: Build, job: tuple[object, ...], tmp_path: Path, refused) -> None:
    out = tmp_path / "out"
    assert build(*job, "--factors", "--out", out).status == 0
    before = contents(out)
    assert refused(*job, "--factors", "float16", "--out", out, status=1) == (
        "the output already holds float32 factors up to rank 20, not float16 up to 20; "
        "leave --factors out to keep them, or --overwrite to build it again"
    )
    assert "up to rank 20, not float32 up to 25" in refused(*job[:-1], "25", "--factors", "--out", out, status=1)
    assert contents(out) == before
    assert build(*job[:-1], "3,25", "--out", out).status == 0
    assert json.loads((out / "manifest.json").read_bytes())["factors"]["rank"] == 20


def test_a_lost_chunk_of_factors_is_built_again_and_nothing_else(
    build: Build, job: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert build(*job, "--factors", "--out", out).status == 0
    before = contents(out)
    tars = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    (out / "factors.zarr" / "train" / "u" / "c.1.0.0.0").unlink()
    assert build(*job, "--out", out).status == 0
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == tars


def test_a_record_without_its_factor_chunks_is_ignored(build: Build, job: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(*job, "--factors", "--out", out).status == 0
    before = contents(out)
    path = next((out / RECORDS).glob("train-000001.json"))
    record = json.loads(path.read_bytes())
    record["factors"] = record["factors"][:-1]
    path.write_text(json.dumps(record))
    assert build(*job, "--out", out).status == 0
    assert contents(out) == before


def test_a_dry_run_shows_the_size_of_the_factors(build: Build, job: tuple[object, ...], tmp_path: Path, capsys) -> None:
    result = build(*job, "--factors", "--dry-run", "--out", tmp_path / "out")
    row = 3 * (32 + 32 + 1) * 20 * 4
    assert f"float32 up to rank 20, {row:,} bytes an image" in result.out


def test_only_the_full_image_and_factors(build: Build, job: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(*job, "--components", "full", "--factors", "--out", out).status == 0
    assert sorted(json.loads((out / "manifest.json").read_bytes())["variants"]) == ["full"]
    assert sorted(path.name for path in (out / "factors.zarr" / "test").iterdir() if path.is_dir()) == ["s", "u", "v"]


def test_other_last_bits_of_singular_values_are_no_other_source(
    build: Build, job: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BLAS on another processor gives other last bits: existing files stay, and only missing ones are built."""
    out = tmp_path / "out"
    assert build(*job, "--out", out).status == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix == ".tar" or "c." in path.name}
    real = cpu.solve

    def elsewhere(*arguments: Any, **options: Any) -> svd.Solution:
        solution = real(*arguments, **options)
        return solution._replace(values=solution.values * (1 + 1e-7))

    monkeypatch.setattr(cpu, "solve", elsewhere)
    assert build(*job, "--components", "full", "--out", out).status == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
