"""Tests that ``python -m pipeline.export`` writes the same pixels and labels, and that a failed export writes nothing."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import RankDataset, export_folder, export_npy
from pipeline.data.export import class_folders
from pipeline.errors import PipelineError, UsageError
from tests.unit.data.conftest import Edit, Export, read_shards


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("variant", ["rank5", "highrank5"])
def test_npy_files_contain_every_image_and_label_in_order(
    variant: str, out: Path, tmp_path: Path, export: Export
) -> None:
    to, expected = tmp_path / "deep" / "to", read_shards(out, variant, "test")
    status, printed, error = export(out, "--variant", variant, "--split", "val", "--to", to)
    assert (status, printed, error) == (0, f"20 images of {variant} test in {to}\n", "")
    assert names(to) == ["classes.txt", "images.npy", "keys.txt", "labels.npy"]
    images, labels = np.load(to / "images.npy"), np.load(to / "labels.npy")
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(images, expected.images)
    assert labels.tolist() == expected.labels
    assert (to / "keys.txt").read_text().splitlines() == expected.keys
    assert (to / "classes.txt").read_text().splitlines()[:2] == ["airplane", "automobile"]
    assert np.load(to / "images.npy", mmap_mode="r").shape == (20, 32, 32, 3)


def test_a_path_may_be_a_string(out: Path, tmp_path: Path) -> None:
    data = RankDataset(str(out), split="test")
    assert export_npy(data, str(tmp_path / "npy")) == tmp_path / "npy"
    assert export_folder(data, str(tmp_path / "tree")) == tmp_path / "tree" / "test"
    assert names(tmp_path / "npy") == ["classes.txt", "images.npy", "keys.txt", "labels.npy"]
    assert "airplane" in names(tmp_path / "tree" / "test")


def test_npy_of_exact_variants_is_float32(exact_out: Path, tmp_path: Path, export: Export) -> None:
    assert export(exact_out, "--variant", "rank5-exact", "--to", tmp_path / "to", "--quiet") == (0, "", "")
    images = np.load(tmp_path / "to" / "images.npy")
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, read_shards(exact_out, "rank5", "train").images.astype(np.float32) / 510)


def image_folder(root: Path) -> list[tuple[Path, int]]:
    """Returns the samples that torchvision's ImageFolder lists: ``find_classes`` numbers the sorted folder names."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    return [(path, i) for i, name in enumerate(classes) for path in sorted((root / name).iterdir())]


def test_a_tree_contains_the_stored_bytes_under_the_same_labels(out: Path, tmp_path: Path, export: Export) -> None:
    for split in ("train", "test"):  # both splits in one folder, as users of ImageFolder store them
        status, printed, _ = export(out, "--variant", "rank5", "--split", split, "--to", tmp_path, "--format", "folder")
        assert status == 0
        assert str(tmp_path / split) in printed
        expected = read_shards(out, "rank5", split)
        labels = dict(zip(expected.keys, expected.labels, strict=True))
        members = dict(zip(expected.keys, expected.members, strict=True))
        files = image_folder(tmp_path / split)
        assert {path.stem: label for path, label in files} == labels
        assert {path.stem: path.read_bytes() for path, _ in files} == members
        assert all(path.suffix == ".png" for path, _ in files)
    classes = (tmp_path / "train" / "classes.txt").read_text().splitlines()
    assert classes == sorted(classes) == [name for name in names(tmp_path / "train") if name != "classes.txt"]


def test_a_class_without_images_gets_a_folder_and_is_reported(
    out: Path, edit: Edit, tmp_path: Path, export: Export
) -> None:
    edit(lambda manifest: manifest["classes"].append("zebra"))
    missing = 11 - len(set(read_shards(out, "full", "test").labels))
    status, printed, _ = export(out, "--variant", "full", "--split", "test", "--to", tmp_path, "--format", "folder")
    assert status == 0
    assert f"{missing} classes have no image in this split: ImageFolder needs allow_empty=True" in printed
    assert names(tmp_path / "test" / "zebra") == []


HOSTILE = [
    [
        "../../evil",
        "a/b",
        "..",
        ".",
        "",
        "/etc",
        "a\\b",
        "C:x",
        "nul\0l",
        "line\nfeed",
        "\x1b[31m",
        "\udcff",
        ".hidden",
    ],
    ["ship", "cat"],
    ["A", "a"],
    ["x" * 300, "x" * 301],
    ["犬" * 100],
    ["b."] * 3,
    [str(i) for i in range(12)],
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_class_folders_are_safe_and_distinct_and_sort_like_the_labels(number: int, tmp_path: Path) -> None:
    folders = class_folders(HOSTILE[number])
    assert folders == sorted(folders)
    assert len({folder.casefold() for folder in folders}) == len(HOSTILE[number])
    for folder in folders:
        (tmp_path / folder).mkdir()
        assert (tmp_path / folder).resolve().parent == tmp_path.resolve()
        assert folder.isprintable()
        assert not folder.startswith(".")
    assert names(tmp_path) == folders


def test_class_folders_keep_safe_names() -> None:
    safe = ["airplane", "automobile", "bird", "sea lion", "été"]
    assert class_folders(safe) == safe
    assert class_folders(["ship", "cat"]) == ["0_ship", "1_cat"]


def test_hostile_class_names_stay_in_the_tree(out: Path, edit: Edit, tmp_path: Path, export: Export) -> None:
    edit(lambda manifest: manifest.update(classes=HOSTILE[0]))
    to = tmp_path / "a" / "b" / "to"
    before = set(tmp_path.rglob("*"))
    assert export(out, "--variant", "rank5", "--to", to, "--format", "folder")[0] == 0
    new = set(tmp_path.rglob("*")) - before
    assert {path for path in new if to not in path.parents} == {to, to.parent, to.parent.parent}
    assert sum(path.suffix == ".png" for path in new) == 100


@pytest.mark.parametrize("format", ["npy", "folder"])
def test_a_target_folder_with_files_is_refused_and_not_changed(
    format: str, out: Path, tmp_path: Path, export: Export
) -> None:
    target = tmp_path / "to" / ("train" if format == "folder" else "")
    target.mkdir(parents=True)
    arguments = (out, "--variant", "rank5", "--to", tmp_path / "to", "--format", format, "--quiet")
    (target / "mine").write_text("mine")
    assert export(*arguments) == (2, "", f"error: --to: {target} is not empty; name a new folder\n")
    assert names(target) == ["mine"]
    (target / "mine").unlink()
    assert export(*arguments) == (0, "", "")  # an empty folder is accepted
    assert export(*arguments)[0] == 2


@pytest.mark.parametrize("write", [export_npy, export_folder])
def test_a_failed_export_leaves_nothing(
    write: Callable[..., Path], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, to = RankDataset(out), tmp_path / "to"

    def stop(done: int, images: int) -> None:
        assert (done, images) == (100, 100)
        assert not (to / "images.npy").exists()
        assert not (to / "train").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(data, to, stop)
    assert not to.exists() or names(to) == []
    shard = data.part.shards[2]
    shard.path.write_bytes(bytes(512))
    with pytest.raises(PipelineError):
        write(data, to)
    assert not to.exists() or names(to) == []
    assert [name for name in names(tmp_path) if "unfinished" in name] == []


def test_float_images_cannot_be_exported_as_png(exact_out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rank5-exact holds float32; use --format npy"):
        export_folder(RankDataset(exact_out, "rank5-exact"), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_memory_does_not_grow_with_the_dataset(out: Path, tmp_path: Path) -> None:
    data = RankDataset(out)
    export_npy(RankDataset(out, split="test"), tmp_path / "first")  # imports and caches are not measured
    tracemalloc.start()
    try:
        export_npy(data, tmp_path / "to")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (tmp_path / "to" / "images.npy").stat().st_size / 2


@pytest.mark.parametrize("write", [export_npy, export_folder])
def test_a_subset_set_as_data_is_not_exported_under_wrong_keys(
    write: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    data = RankDataset(out, "rank5")
    data.data, data.targets = data.data[5:9], data.targets[5:9]
    with pytest.raises(UsageError, match="data of this rank5 dataset was replaced"):
        write(data, tmp_path / "to")
    assert not any(path.is_file() for path in (tmp_path / "to").rglob("*"))


def test_data_set_for_all_samples_is_exported(out: Path, tmp_path: Path) -> None:
    data = RankDataset(out, "rank5")
    data.data = poisoned = 255 - data.data
    np.testing.assert_array_equal(np.load(export_npy(data, tmp_path / "to") / "images.npy"), poisoned)
    data.data = poisoned[:, :16]
    with pytest.raises(UsageError, match=r"replaced by images of shape \(16, 32, 3\), not \(32, 32, 3\)"):
        export_npy(data, tmp_path / "smaller")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--to"),
        (["--to", "x"], "--variant: --format npy needs the variant"),
        (["--variant", "rank6", "--to", "x"], "did you mean 'rank5'?"),
        (
            ["--variant", "rank5", "--to", "x", "--format", "nyp"],
            "did you mean 'npy'?",
        ),
        (["--variant", "rank5", "--to", "x", "--split", "trian"], "has train, test, did you mean 'train'?"),
        (["--variant", "rank5", "--to", ""], "--to: it is empty"),
        (["--variant", "rank5", "--tto", "x", "--to", "x"], "unknown option '--tto', did you mean '--to'?"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_status_2(
    arguments: list[str], message: str, out: Path, export: Export
) -> None:
    status, printed, error = export(out, *arguments)
    assert (status, printed, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: ")
    assert message in error
