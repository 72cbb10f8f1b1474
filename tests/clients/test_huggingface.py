"""Promise: Hugging Face ``datasets`` loads each variant as a config, from the root or its folder, and no older build."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import COUNTS, VARIANTS, Output, Sample, sample
from tests.conftest import Build

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def load(folder: Path, name: str | None, cache: Path, streaming: bool = False) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), name, cache_dir=str(cache), streaming=streaming)


def rows(data: Any) -> list[Sample]:
    assert data.features["cls"].names == CLASSES
    return [sample(row["__key__"], row["cls"], row["png"]) for row in data]


def same(loaded: Any, out: Output, variant: str) -> None:
    assert list(loaded) == list(COUNTS)
    for split, data in loaded.items():
        assert rows(data) == out.samples(variant, split)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_a_config_of_the_root(variant: str, cifar: Output, tmp_path: Path) -> None:
    same(load(cifar.root, f"cifar10-{variant}", tmp_path), cifar, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variants_folder_loads_on_its_own(variant: str, cifar: Output, tmp_path: Path) -> None:
    same(load(cifar.folder(variant), None, tmp_path), cifar, variant)


@pytest.mark.parametrize("variant", ["rank5", "highrank5", "full"])
def test_variants_stream(variant: str, cifar: Output, tmp_path: Path) -> None:
    same(load(cifar.root, f"cifar10-{variant}", tmp_path, streaming=True), cifar, variant)
    same(load(cifar.folder(variant), None, tmp_path, streaming=True), cifar, variant)


def test_the_first_variant_is_the_default_and_never_a_mixture(cifar: Output, tmp_path: Path) -> None:
    from datasets import get_dataset_config_names

    assert sorted(get_dataset_config_names(str(cifar.root))) == sorted(f"cifar10-{name}" for name in VARIANTS)
    same(load(cifar.root, None, tmp_path), cifar, "rank3")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("at_root", [True, False])
def test_a_rebuild_in_place_gives_the_new_pixels(
    at_root: bool, streaming: bool, rebuilt: Callable[[bool], Output], tmp_path: Path
) -> None:
    """Also if the times and sizes of the files are those of the older build: only the digest in the card differs."""
    builds = []
    for backwards in (False, True):
        out = rebuilt(backwards)
        for file in out.root.rglob("*"):
            os.utime(file, (1_000_000_000, 1_000_000_000))
        folder, name = (out.root, "cifar10-rank5") if at_root else (out.folder("rank5"), None)
        loaded = load(folder, name, tmp_path / "cache", streaming)
        same(loaded, out, "rank5")
        builds.append((out.samples("rank5", "train"), sum(path.stat().st_size for path in out.root.glob("*/*.tar"))))
    assert builds[0][0] != builds[1][0]
    assert builds[0][1] == builds[1][1]


def test_an_output_that_grows_is_read_at_every_stage(build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--ranks", "3", "--components", "low", "--splits", "test", "--out", tmp_path / "out")
    for limit in (5, 12):
        assert build(*job, "--limit", limit).status == 0
        assert len(load(tmp_path / "out", "sample-rank3", tmp_path / "cache")["test"]) == limit


def test_an_output_with_an_empty_split_loads(build: Build, pictures: Callable[..., Path], tmp_path: Path) -> None:
    pictures("pictures/train", each=2, size=(8, 8))
    (tmp_path / "pictures" / "test" / "a").mkdir(parents=True)
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    assert len(load(tmp_path / "out", "folder-rank3", tmp_path / "cache")["train"]) == 4


def test_a_single_class_loads(build: Build, pictures: Callable[..., Path], tmp_path: Path) -> None:
    folder = pictures(classes="a", each=3, size=(8, 8))
    assert build("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--out", tmp_path / "out").status == 0
    data = load(tmp_path / "out", "folder-rank3", tmp_path / "cache")["train"]
    assert (data.features["cls"].names, data["cls"][:]) == (["a"], [0, 0, 0])


@pytest.mark.parametrize("streaming", [False, True])
def test_an_output_with_rejects_and_an_empty_first_shard_loads(
    streaming: bool, build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(each=4, size=(8, 8))
    for name in ("a/00.png", "a/01.png", "b/02.png"):
        (folder / name).write_bytes(b"no image")
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--out", tmp_path / "out", "--order", "source")
    assert build(*job, "--samples-per-shard", "2").status == 3
    data = load(tmp_path / "out", "folder-rank3", tmp_path / "cache", streaming)["train"]
    assert [(row["__key__"], row["cls"]) for row in data] == [
        (f"train-{i:08d}", label) for i, label in ((2, 0), (3, 0), (4, 1), (5, 1), (7, 1))
    ]


def test_class_names_that_no_reader_expects_survive(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=1, size=(8, 8))
    names = ["1e3", "no", "null", "a: b # c", "naïve 犬", "%s {x}"]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes((folder / "a" / "00.png").read_bytes())
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--components", "low")
    assert build(*job, "--out", tmp_path / "out").status == 0
    expected = sorted([*names, "a", "b"], key=str.encode)
    loaded = load(tmp_path / "out", "folder-rank3", tmp_path / "cache")["train"]
    assert loaded.features["cls"].names == expected
    assert sorted(loaded["cls"][:]) == list(range(8))
    assert (tmp_path / "out" / "folder-rank3" / "classnames.txt").read_text().splitlines() == expected
