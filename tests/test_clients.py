"""Promises to the readers of an output: each opens it as it is, and gets every sample once, with its label."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Build, SmallCifar

VARIANTS = ("rank5", "highrank5", "full")


@pytest.fixture
def out(build: Build, cifar_binary: SmallCifar, tmp_path: Path) -> Path:
    """100 train and 20 test images in shards of 40."""
    folder = tmp_path / "out"
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "5", "--components", "low,high,full")
    assert build(*job, "--samples-per-shard", "40", "--out", folder) == (0, "", "")
    return folder


def stored(pixels: np.ndarray, variant: str) -> np.ndarray:
    """What a variant of uint8 (n, 3, 32, 32) images holds, by ``numpy.linalg.svd``: uint8 (n, 32, 32, 3)."""
    left, sigma, right = np.linalg.svd(pixels / 255)
    rounded = np.rint(255 * ((left[..., :5] * sigma[..., None, :5]) @ right[..., :5, :]))
    exact = {"full": pixels, "rank5": rounded, "highrank5": pixels - rounded + 128}[variant]
    clipped: np.ndarray = np.clip(exact, 0, 255).astype(np.uint8)
    return clipped.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_webdataset_reads_every_sample_once_with_its_label_and_pixels(
    variant: str, split: str, out: Path, cifar_binary: SmallCifar
) -> None:
    import webdataset

    shards = sorted(map(str, (out / f"cifar10-{variant}").glob(f"*-{split}-*.tar")))
    data = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil")
    samples = list(data.to_tuple("__key__", "png", "cls"))
    labels, expected = cifar_binary.labels[split], stored(cifar_binary.pixels[split], variant)
    assert [key for key, _, _ in samples] == [f"{split}-{i:08d}" for i in range(len(labels))]
    assert [label for _, _, label in samples] == labels.tolist()
    for (_, image, _), pixels in zip(samples, expected, strict=True):
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_cards_own_example_for_webdataset_works(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webdataset

    monkeypatch.chdir(out)
    line = next(line for line in Path("README.md").read_text().splitlines() if "WebDataset(" in line)
    pattern = line.split('"')[1]
    assert pattern == "cifar10-rank5/cifar10-rank5-train-{000000..000002}.tar"
    assert len(list(webdataset.WebDataset(pattern, shardshuffle=False))) == 100


def load(folder: Path, name: str, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), name, cache_dir=str(cache))


@pytest.mark.parametrize("variant", VARIANTS)
def test_hugging_face_loads_each_variant_as_a_config(
    variant: str, out: Path, cifar_binary: SmallCifar, tmp_path: Path
) -> None:
    loaded = load(out, f"cifar10-{variant}", tmp_path / "cache")
    assert {split: len(data) for split, data in loaded.items()} == {"train": 100, "test": 20}
    for split, data in loaded.items():
        label = data.features["cls"]
        assert type(label).__name__ == "ClassLabel"
        assert label.names[:3] == ["airplane", "automobile", "bird"]
        assert len(label.names) == 10
        assert data["cls"][:] == cifar_binary.labels[split].tolist()
        assert data["__key__"][:] == [f"{split}-{i:08d}" for i in range(len(data))]
        np.testing.assert_array_equal(np.asarray(data[7]["png"]), stored(cifar_binary.pixels[split], variant)[7])


def test_hugging_face_loads_the_first_variant_by_default_and_never_a_mixture(out: Path, tmp_path: Path) -> None:
    from datasets import get_dataset_config_names, load_dataset

    assert sorted(get_dataset_config_names(str(out))) == ["cifar10-full", "cifar10-highrank5", "cifar10-rank5"]
    assert len(load_dataset(str(out), split="test", cache_dir=str(tmp_path / "cache"))) == 20


def test_hugging_face_loads_a_variants_folder_on_its_own(out: Path, tmp_path: Path) -> None:
    loaded = load(out / "cifar10-highrank5", "cifar10-highrank5", tmp_path / "cache")
    assert {split: len(data) for split, data in loaded.items()} == {"train": 100, "test": 20}


def test_hugging_faces_cache_never_returns_an_older_build(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """Other pixels under the same names: the digest in the card is what the cache goes by."""
    seen = []
    for seed in (0, 1):
        folder = pictures(f"pictures{seed}", each=3, size=(8, 8), seed=seed)
        job = ("--dataset", "folder", "--data-dir", folder, "--components", "full", "--out", tmp_path / "out")
        assert build(*job, "--order", "source", "--overwrite").status == 0
        loaded = load(tmp_path / "out", "folder-full", tmp_path / "cache")["train"]
        first = np.asarray(Image.open(folder / "a" / "00.png"))
        np.testing.assert_array_equal(np.asarray(loaded[0]["png"]), first)
        seen.append(first.tobytes())
    assert seen[0] != seen[1]


def test_hugging_face_reads_a_growing_output_at_every_stage(build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--ranks", "3", "--components", "low", "--splits", "test", "--out", tmp_path / "out")
    for limit in (5, 12):
        assert build(*job, "--limit", limit).status == 0
        assert len(load(tmp_path / "out", "sample-rank3", tmp_path / "cache")["test"]) == limit


def test_hugging_face_loads_a_source_one_of_whose_splits_is_empty(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    pictures("pictures/train", each=2, size=(8, 8))
    (tmp_path / "pictures" / "test" / "a").mkdir(parents=True)
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    assert len(load(tmp_path / "out", "folder-rank3", tmp_path / "cache")["train"]) == 4


def splits(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded["splits"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("variant", VARIANTS)
def test_timm_finds_all_four_fields_and_validation_in_each_variants_folder(variant: str, out: Path) -> None:
    folder = out / f"cifar10-{variant}"
    found = splits(folder / "_info.json")
    assert list(found) == ["train", "test", "validation"]
    for name, split in found.items():
        assert split.keys() == {"name", "num_samples", "filenames", "shard_lengths"}
        assert split["name"] == name
        assert split["num_samples"] == sum(split["shard_lengths"]) == {"train": 100}.get(name, 20)
        assert len(split["filenames"]) == len(split["shard_lengths"])
        assert all((folder / file).is_file() for file in split["filenames"])
    assert found["train"]["shard_lengths"] == [40, 40, 20]
    assert found["validation"] == found["test"] | {"name": "validation"}


def test_timms_validation_is_val_where_there_is_one(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    for split, each in {"train": 3, "val": 1, "test": 2}.items():
        pictures(f"pictures/{split}", each=each, size=(8, 8))
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    found = splits(tmp_path / "out" / "folder-rank3" / "_info.json")
    assert {name: split["num_samples"] for name, split in found.items()} == {
        "train": 6,
        "val": 2,
        "test": 4,
        "validation": 2,
    }


def test_timm_finds_every_variant_from_the_root(out: Path) -> None:
    found = splits(out / "_info.json")
    assert sorted(found) == sorted(
        f"cifar10-{variant}-{split}" for variant in VARIANTS for split in ("train", "test", "validation")
    )
    for name, split in found.items():
        assert split["name"] == name
        assert split["num_samples"] == sum(split["shard_lengths"])
        assert all((out / file).is_file() for file in split["filenames"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_wids_finds_its_shards_and_their_counts(variant: str, out: Path) -> None:
    folder = out / f"cifar10-{variant}"
    for split, counts in {"train": [40, 40, 20], "test": [20]}.items():
        index = json.loads((folder / f"wids-{split}.json").read_text())
        assert index["wids_version"] == 1
        assert [shard["nsamples"] for shard in index["shardlist"]] == counts
        assert all((folder / shard["url"]).is_file() for shard in index["shardlist"])


def test_wids_itself_reads_it(out: Path, cifar_binary: SmallCifar, monkeypatch: pytest.MonkeyPatch) -> None:
    wids = pytest.importorskip("wids")
    monkeypatch.chdir(out / "cifar10-full")
    data = wids.ShardListDataset("wids-train.json", localname=lambda url: url)
    assert len(data) == 100
    assert [int(data[i][".cls"]) for i in range(100)] == cifar_binary.labels["train"].tolist()


def test_dalis_index_leads_to_every_image_and_label_without_reading_the_tar(
    out: Path, cifar_binary: SmallCifar
) -> None:
    labels, pixels = [], []
    for index in sorted((out / "cifar10-full").glob("*-train-*.idx")):
        tar = index.with_suffix(".tar").read_bytes()
        head, *lines = index.read_text().splitlines()
        assert head == f"v1.2 {len(lines)}"
        for line in lines:
            png, start, size, image, cls, place, digits, label = line.split()
            assert (png, cls, image[:-4]) == ("png", "cls", label[:-4])
            labels.append(int(tar[int(place) : int(place) + int(digits)]))
            pixels.append(np.asarray(Image.open(io.BytesIO(tar[int(start) : int(start) + int(size)]))))
    assert labels == cifar_binary.labels["train"].tolist()
    np.testing.assert_array_equal(np.stack(pixels), stored(cifar_binary.pixels["train"], "full"))


def test_open_clip_finds_sizes_and_class_names_in_each_variants_folder(out: Path) -> None:
    for variant in VARIANTS:
        folder = out / f"cifar10-{variant}"
        sizes = json.loads((folder / "sizes.json").read_text())
        assert sizes == dict(zip(sorted(path.name for path in folder.glob("*.tar")), [20, 40, 40, 20], strict=True))
        names = (folder / "classnames.txt").read_text().splitlines()
        assert (len(names), names[0], names[9]) == (10, "airplane", "truck")


def test_the_card_tells_the_offset_the_clipping_and_the_moments(out: Path, cifar_binary: SmallCifar) -> None:
    card = (out / "README.md").read_text()
    assert "stored with an offset of 128" in card
    manifest = json.loads((out / "manifest.json").read_text())
    for variant in VARIANTS:
        for split, described in manifest["variants"][variant]["splits"].items():
            pixels = stored(cifar_binary.pixels[split], variant) / 255
            np.testing.assert_allclose(described["mean"], pixels.mean((0, 1, 2)), rtol=1e-12)
            np.testing.assert_allclose(described["std"], pixels.std((0, 1, 2)), rtol=1e-9)
            mean = ", ".join(f"{value:.4f}" for value in described["mean"])
            assert f"| {variant} | {split} | {described['samples']} | " in card
            assert mean in card
    assert "offset" not in (out / "cifar10-rank5" / "README.md").read_text()
    assert "stored with an offset of 128" in (out / "cifar10-highrank5" / "README.md").read_text()


def test_class_names_that_no_reader_expects_survive(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=1, size=(8, 8))
    names = ["1e3", "no", "null", "a: b # c", "naïve 犬", "%s {x}"]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes((folder / "a" / "00.png").read_bytes())
    job = (
        "--dataset",
        "folder",
        "--data-dir",
        folder,
        "--ranks",
        "3",
        "--components",
        "low",
        "--out",
        tmp_path / "out",
    )
    assert build(*job).status == 0
    expected = sorted([*names, "a", "b"], key=str.encode)
    loaded = load(tmp_path / "out", "folder-rank3", tmp_path / "cache")["train"]
    assert loaded.features["cls"].names == expected
    assert sorted(loaded["cls"][:]) == list(range(8))
    assert (tmp_path / "out" / "folder-rank3" / "classnames.txt").read_text().splitlines() == expected
