"""The array source finds the pairs of images and labels of every layout, and their splits."""

import numpy as np
import pytest

from pipeline.sources import open_source
from tests.unit.sources.arrays.make import opened, pixels, random_images, random_labels, refused, save


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ([("images", "labels")], ["train"]),
        ([("train_images", "train_labels"), ("test_images", "test_labels")], ["train", "test"]),
        ([("x_train", "y_train"), ("x_test", "y_test")], ["train", "test"]),
        ([("X_train", "Y_train"), ("X_valid", "Y_valid")], ["train", "val"]),
        ([("val-data", "val-labels")], ["val"]),
        ([("cifar10.1_v6_data", "cifar10.1_v6_labels")], ["v6"]),
        ([("cifar10.1_v6_data", "cifar10.1_v6_labels"), ("cifar10.1_v4_data", "cifar10.1_v4_labels")], ["v6", "v4"]),
        ([("my_images", "my_targets")], ["train"]),
        ([("train/images", "train/labels"), ("test/images", "test/labels")], ["train", "test"]),
        ([("set/images", "set/labels")], ["train"]),
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz", "compressed"])
def test_pairs_and_their_splits(tmp_path, names, splits, form):
    arrays, expected = {}, {}
    for number, ((images, labels), split) in enumerate(zip(names, splits, strict=True)):
        count = 10 + number
        arrays |= {images: random_images(count, seed=number), labels: random_labels(count)}
        expected[split] = arrays[images], arrays[labels]
    root = save(tmp_path / "data", arrays)
    if form != "npy":
        if "/" in names[0][0]:
            pytest.skip("an archive has no folders")
        root = tmp_path / "archive"
        root.mkdir()
        (np.savez if form == "npz" else np.savez_compressed)(root / "a.npz", **arrays)
    source, index = opened(root)
    assert sorted(index.splits) == sorted(splits) and index.shape == (8, 8)
    for split, (images, labels) in expected.items():
        assert np.array_equal(pixels(source, index, split), images)
        assert index.splits[split].labels.tolist() == labels.tolist()
        assert index.splits[split].names == [f"{row:08d}" for row in range(len(images))]
    assert index.classes == ["0", "1", "2", "3", "4"] and index.left_out == ()


def test_every_form_has_one_fingerprint_and_other_pixels_another(tmp_path):
    arrays = {"train_images": random_images(6), "train_labels": random_labels(6)}
    save(tmp_path / "npy", arrays)
    save(tmp_path / "folders", {"train/images": arrays["train_images"], "train/labels": arrays["train_labels"]})
    for name, write in (("npz", np.savez), ("compressed", np.savez_compressed)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "x.npz", **arrays)
    prints = {opened(tmp_path / name)[1].fingerprint() for name in ("npy", "folders", "npz", "compressed")}
    assert len(prints) == 1
    arrays["train_images"][3, 2, 1, 0] ^= 1
    prints.add(opened(save(tmp_path / "other", arrays))[1].fingerprint())
    assert len(prints) == 2


@pytest.mark.parametrize("repeated", [True, False])
def test_cifar_10_c_has_a_split_for_each_corruption_and_severity(tmp_path, repeated):
    labels = random_labels(12).astype(np.uint8)
    fog, noise = random_images(60, seed=1), random_images(60, seed=2)
    every = np.tile(labels, 5) if repeated else labels
    save(tmp_path / "CIFAR-10-C", {"fog": fog, "gaussian_noise": noise, "labels": every})
    source, index = opened(tmp_path)
    assert list(index.splits) == [f"{name}_{level}" for name in ("fog", "gaussian_noise") for level in range(1, 6)]
    for name, images in (("fog", fog), ("gaussian_noise", noise)):
        for severity in range(5):
            split = f"{name}_{severity + 1}"
            assert np.array_equal(pixels(source, index, split), images[12 * severity : 12 * severity + 12])
            assert index.splits[split].labels.tolist() == labels.tolist()
    assert index.checksums["fog_1"] != index.checksums["fog_2"] and "12 images, as in CIFAR-10-C" in index.readings[0]


def test_a_build_of_one_severity(tmp_path, build):
    save(tmp_path / "c", {"fog": random_images(30, 12), "snow": random_images(30, 12, 1), "labels": random_labels(30)})
    arguments = ("--dataset", "arrays", "--data-dir", tmp_path / "c", "--out", tmp_path / "out", "--ranks", 2)
    result = build(*arguments, "--splits", "fog-3,snow_1")
    assert (result.status, result.err) == (0, "")
    assert {path.name for path in (tmp_path / "out" / "samples").iterdir()} == {"fog_3.jsonl", "snow_1.jsonl"}
    assert "has fog_1, fog_2" in build(*arguments, "--splits", "fog_6").err


def test_medmnist(tmp_path):
    grey = random_images(30, 28)[..., 0]
    labels = random_labels(30).astype(np.uint8)[:, None]
    parts = {"train": slice(0, 15), "val": slice(15, 20), "test": slice(20, 30)}
    arrays = {f"{split}_images": grey[rows] for split, rows in parts.items()}
    arrays |= {f"{split}_labels": labels[rows] for split, rows in parts.items()}
    np.savez_compressed(tmp_path / "bloodmnist.npz", **arrays)
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)
    assert "bloodmnist.npz, pathmnist.npz: give the .npz file that is meant" in refused(tmp_path)
    source, index = opened(tmp_path / "bloodmnist.npz")
    assert list(index.splits) == ["train", "val", "test"] and index.shape == (28, 28)
    for split, rows in parts.items():
        assert np.array_equal(pixels(source, index, split), np.repeat(grey[rows, :, :, None], 3, axis=3))
        assert index.splits[split].labels.tolist() == labels[rows, 0].tolist()
    assert source.decode(source.read(index.splits["val"].entry(0))).converted == "grey"


def test_class_names_are_those_beside_the_arrays(tmp_path):
    arrays = {"images": random_images(4), "labels": random_labels(4, 2)}
    for name in ("classes.txt", "classnames.txt"):
        folder = save(tmp_path / name[:7], arrays)
        (folder / name).write_text("zebra\nant\n")
        assert opened(folder)[1].classes == ["zebra", "ant"]
    (tmp_path / "list.json").write_text('["p", "q", "r"]')
    assert open_source("arrays", folder, classes=tmp_path / "list.json").index().classes == ["p", "q", "r"]
    (folder / name).write_text("zebra\n")
    assert "has the label 1 in row 1" in refused(folder) and "names 1 classes" in refused(folder)


def test_what_is_not_used_is_said(tmp_path):
    arrays = {"train_images": random_images(4), "train_labels": random_labels(4), "weights": np.zeros(3)}
    arrays |= {"test_labels": random_labels(2)}
    index = opened(save(tmp_path, arrays))[1]
    assert list(index.splits) == ["train"] and "test_labels.npy" in index.note and "weights.npy" in index.left_out[0]


def test_arrays_and_images_beside_the_arrays_are_said(tmp_path):
    folder = save(tmp_path, {"images": random_images(4), "labels": random_labels(4)})
    save(folder, {"test/images": random_images(2), "test/labels": random_labels(2)})
    (folder / "cat.png").touch()
    index = opened(folder)[1]
    assert len(index.splits["train"]) == 4
    assert "folders with arrays beside them, left out: test" in index.left_out
    assert "image files beside the arrays, left out: 1 (cat.png, ...)" in index.left_out


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], "holds no arrays"),
        (["images"], "images.npy has no labels"),
        (["labels"], "holds no images and labels"),
        (["train_images", "train_labels", "test_images"], "test_images.npy has no labels"),
        (["a_images", "a_labels", "b_images", "b_labels"], "'a' does not name a split: call them train_images"),
        (["train_images", "train_labels", "train_data"], "have the same role"),
        (["x_train", "y_train", "training_images", "training_labels"], "are both the split train"),
        (["a/images", "a/labels", "b/images", "b/labels"], "its folders a, b do: give one of them"),
        (["val/images", "val/labels", "valid/images", "valid/labels"], "two folders for the split val"),
        (["fog", "labels"], "has 4 labels for the 4 images"),
    ],
)
def test_unclear_folders_are_reported(tmp_path, names, line):
    save(tmp_path, {name: random_labels(4) if "label" in name or "y_" in name else random_images(4) for name in names})
    assert line in refused(tmp_path)


def test_no_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    assert "file is no .npz file" in refused(tmp_path / "file")
    assert "none does not exist" in refused(tmp_path / "none")
