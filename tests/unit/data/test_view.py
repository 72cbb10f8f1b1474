"""Tests that ``RankView`` cuts images at any rank, from factors or by SVD, and equals the variants of the output."""

import io
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.data import RankDataset, RankView, to_tensor
from pipeline.errors import PipelineError, UsageError
from tests.conftest import Build, SmallCifar


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> dict[str, Path]:
    """Returns two outputs: one with factors, ``full`` and exact images, and one without factors."""
    from pipeline.build import main

    root = tmp_path_factory.mktemp("view")
    photographs = sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))
    for number in range(12):
        folder = root / "images" / "train" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.open(photographs[40 * number]).convert("RGB")
        image.thumbnail((200, 200))
        image.save(folder / f"{number:02d}.png")
    (root / "images" / "train" / "class1" / "03x.png").write_bytes(b"no image")
    job = [
        "--dataset",
        "folder",
        "--data-dir",
        str(root / "images"),
        "--resize",
        "48",
        "--ranks",
        "3,20",
        "--name",
        "view",
    ]
    job += [
        "--workers",
        "0",
        "--quiet",
        "--max-rejects",
        "1",
        "--samples-per-shard",
        "5",
        "--components",
        "low,high,full",
    ]
    assert main([*job, "--exact", "--factors", "--out", str(root / "factors")]) == 0
    assert main([*job, "--out", str(root / "plain")]) == 0
    return {"factors": root / "factors", "plain": root / "plain"}


@pytest.mark.parametrize("out", ["factors", "plain"])
@pytest.mark.parametrize("component", ["low", "high"])
@pytest.mark.parametrize("rank", [3, 20])
def test_images_equal_those_of_the_built_variants(outs: dict[str, Path], out: str, component: str, rank: int) -> None:
    variant = {"low": "rank", "high": "highrank"}[component] + str(rank)
    stored, exact = RankDataset(outs[out], variant), RankDataset(outs["factors"], f"{variant}-exact")
    view, floats = RankView(outs[out], rank, component), RankView(outs[out], rank, component, form="npy")
    assert len(view) == len(stored) == 12
    assert view.targets == stored.targets
    assert view.classes == stored.classes == ["class0", "class1", "class2"]
    for i in range(len(stored)):
        assert view.key(i) == stored.key(i)
        assert view[i][1] == stored[i][1]
        assert np.abs(np.asarray(view[i][0], np.int16) - np.asarray(stored[i][0])).max() <= (
            1 if out == "factors" else 0
        )
        assert floats[i][0].dtype == np.float32
        assert 255 * np.abs(floats[i][0] - exact[i][0]).max() < 0.01


def test_ranks_up_to_that_of_the_factors_equal_numpys_svd(outs: dict[str, Path]) -> None:
    full = RankDataset(outs["factors"], "full")
    for rank in (1, 2, 7, 13, 20):
        view = RankView(outs["factors"], rank, form="npy")
        for i in range(len(full)):
            planes = np.asarray(full[i][0]).transpose(2, 0, 1) / 255
            u, s, v = np.linalg.svd(planes, full_matrices=False)
            exact = ((u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]).transpose(1, 2, 0)
            assert 255 * np.abs(view[i][0] - exact).max() < 0.01


def test_every_rank_is_available_without_factors(outs: dict[str, Path]) -> None:
    assert RankView(outs["plain"], 47)[0][0].size == (48, 48)
    assert RankView(outs["factors"], 40, factors=False)[0][0].size == (48, 48)


def test_a_rank_is_drawn_per_sample_and_a_seed_repeats_the_ranks(outs: dict[str, Path]) -> None:
    view = RankView(outs["factors"], range(1, 21), form="npy")

    def drawn_ranks() -> list[int]:
        random.seed(3)
        values = [np.linalg.svd(view[i][0].transpose(2, 0, 1).astype(np.float64), compute_uv=False) for i in range(12)]
        return [int((s[0] > 1e-5 * s[0, 0]).sum()) for s in values]

    ranks = drawn_ranks()
    assert len(set(ranks)) > 4
    assert set(ranks) <= set(range(1, 21))
    assert drawn_ranks() == ranks


def threads_of_blas(_: Any) -> int:
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in libraries if "numpy" in library["filepath"]]  # not that of scipy, which numba imports
    return max(int(library["num_threads"]) for library in own or libraries)


def test_each_worker_of_a_data_loader_uses_one_thread(outs: dict[str, Path]) -> None:
    """Two workers with a thread per core each took ten times as long."""
    with threadpoolctl.threadpool_limits(2):
        view = RankView(outs["plain"], 3, transform=threads_of_blas)
        assert view[0][0] == 2  # in the user's own process nothing changes
        loader: DataLoader[Any] = DataLoader(view, num_workers=2, multiprocessing_context="spawn")  # type: ignore[arg-type]
        assert {int(threads) for threads, _ in loader} == {1}
        assert view[0][0] == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_draws_other_ranks_in_every_epoch(outs: dict[str, Path], workers: int) -> None:
    view = RankView(outs["factors"], [1, 3, 9, 20], transform=to_tensor)
    context = "spawn" if workers else None
    loader: DataLoader[Any] = DataLoader(view, batch_size=6, num_workers=workers, multiprocessing_context=context)  # type: ignore[arg-type]
    torch.manual_seed(0)
    random.seed(0)
    epochs = [torch.cat([images for images, _ in loader]) for _ in range(2)]
    assert epochs[0].shape == (12, 3, 48, 48)
    assert not torch.equal(*epochs)


def test_it_pickles(outs: dict[str, Path]) -> None:
    view = RankView(outs["factors"], 5)
    assert pickle.loads(pickle.dumps(view))[3][0].tobytes() == view[3][0].tobytes()


@pytest.mark.parametrize(
    ("out", "options", "line"),
    [
        ("factors", {"rank": 21}, "rank 21: the factors of {root} reach rank 20; factors=False cuts from full instead"),
        ("factors", {"rank": 0}, "rank 0: a rank of these images is at least 1 and at most 47"),
        ("plain", {"rank": 48}, "rank 48: a rank of these images is at least 1 and at most 47"),
        ("plain", {"rank": []}, "rank []: give a whole number, or a sequence of them"),
        ("plain", {"rank": 2.5}, "rank 2.5: give a whole number, or a sequence of them"),
        ("plain", {"rank": 3, "component": "hihg"}, "component 'hihg': choose among low, high, did you mean 'high'?"),
        ("plain", {"rank": 3, "form": "jpg"}, "form 'jpg': choose among png, npy, did you mean 'png'?"),
        ("plain", {"rank": 3, "split": "tes"}, "split 'tes': {root} has train"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    outs: dict[str, Path], out: str, options: dict[str, object], line: str
) -> None:
    with pytest.raises(UsageError) as caught:
        RankView(outs[out], **options)  # type: ignore[arg-type]
    assert str(caught.value) == line.format(root=outs[out])


def test_the_variant_to_cut_from_must_be_built(build: Build, cifar_binary: SmallCifar, tmp_path: Path) -> None:
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5")
    assert build(*job, "--out", tmp_path / "bare").status == 0
    with pytest.raises(UsageError, match="without factors, a RankView needs the variant full; build it"):
        RankView(tmp_path / "bare", 5)
    assert build(*job, "--factors", "--out", tmp_path / "bare").status == 0
    assert RankView(tmp_path / "bare", 4)[0][0].size == (32, 32)
    with pytest.raises(UsageError, match="high-rank-only images need the variant full"):
        RankView(tmp_path / "bare", 5, "high")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train/u/zarr.json", lambda path: path.unlink()),
        ("train/u/zarr.json", lambda path: path.write_text("{")),
        ("train/s/zarr.json", lambda path: path.write_text(json.dumps({"shape": []}))),
        ("train/v/c.0.0.0.0", lambda path: path.unlink()),
        ("train/v/c.0.0.0.0", lambda path: path.write_bytes(path.read_bytes()[:10])),
    ],
)
def test_damaged_factors_are_reported_in_one_line(
    build: Build, cifar_binary: SmallCifar, tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5", "--factors")
    assert build(*job, "--limit", 10, "--out", tmp_path / "out").status == 0
    damage(tmp_path / "out" / "factors.zarr" / name)
    with pytest.raises(PipelineError) as caught:
        RankView(tmp_path / "out", 5)[0]
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_of_a_png_view_can_be_saved_as_png(outs: dict[str, Path]) -> None:
    file = io.BytesIO()
    RankView(outs["factors"], 5)[0][0].save(file, "PNG")
    assert Image.open(file).mode == "RGB"


@pytest.mark.parametrize("rank", [0, -1, 21, 10**6])
def test_the_rank_given_to_cut_is_checked(outs: dict[str, Path], rank: int) -> None:
    with pytest.raises(UsageError, match=f"rank {rank}: "):
        RankView(outs["factors"], 5).cut(0, rank)


def test_train_and_the_attributes_are_as_in_torchvision(outs: dict[str, Path]) -> None:
    view = RankView(outs["factors"], 5, train=True)
    assert view.class_to_idx == {"class0": 0, "class1": 1, "class2": 2}
    assert [label for _, label in view.samples] == view.targets
    with pytest.raises(TypeError):
        view[0:2]  # type: ignore[index]
