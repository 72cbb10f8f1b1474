"""Splits come from the names of Parquet files; entries are named after their rows."""

import itertools
import pickle

import pyarrow as pa
import pytest

from pipeline.sources.parquet.source import Parquet
from tests.unit.sources.parquet.make import contents, images, refused, table, write


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["b.parquet", "a.parquet"], {"train": ["a.parquet", "b.parquet"]}),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
            {
                "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                "test": ["data/test-00000-of-00001.parquet"],
            },
        ),
        (["data/validation-00000-of-00001-a09f.parquet"], {"validation": ["data/validation-00000-of-00001-a09f.parquet"]}),
        (["data/valid-00000-of-00001.parquet"], {"val": ["data/valid-00000-of-00001.parquet"]}),
        (
            ["data/zeta-00000-of-00001.parquet", "data/fold_1-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
            {
                "train": ["data/train-00000-of-00001.parquet"],
                "fold_1": ["data/fold_1-00000-of-00001.parquet"],
                "zeta": ["data/zeta-00000-of-00001.parquet"],
            },
        ),
        (["data/train_small-00000-of-00001.parquet"], {"train_small": ["data/train_small-00000-of-00001.parquet"]}),
        (["plain_text/train/0000.parquet", "plain_text/test/0000.parquet"],
         {"train": ["plain_text/train/0000.parquet"], "test": ["plain_text/test/0000.parquet"]}),
        (["x_train.parquet", "x_test.parquet"], {"train": ["x_train.parquet"], "test": ["x_test.parquet"]}),
        (["train/a.parquet", "Valid/b.parquet"], {"train": ["train/a.parquet"], "val": ["Valid/b.parquet"]}),
        (["config/train-00000-of-00001.parquet"], {"train": ["config/train-00000-of-00001.parquet"]}),
        (["data/a.parquet", ".cache/huggingface/b.parquet", "._a.parquet"], {"train": ["data/a.parquet"]}),
    ],
)  # fmt: skip
def test_splits_come_from_the_names(tmp_path, names, splits):
    for number, name in enumerate(names):
        write(tmp_path / name, table(images(number + 1), [0] * (number + 1)))
    (tmp_path / "README.md").write_text("---\nconfigs: {}\n---\n")
    (tmp_path / ".gitattributes").touch()
    index = Parquet(tmp_path).index()
    assert {split: list(listed.files) for split, listed in index.splits.items()} == splits
    assert list(index.splits) == list(splits)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], "holds no Parquet files"),
        (["a/train-00000-of-00001.parquet", "b/train-00000-of-00001.parquet"], "several configurations, a, b"),
        (["x-train.parquet", "y.parquet"], "y.parquet names no split, but x-train.parquet does"),
        (["x-train-val.parquet"], "names the splits train and val"),
        (["train/a.parquet", "b.parquet"], "holds Parquet files itself (b.parquet) and in train/"),
        (["val/a.parquet", "valid/b.parquet"], "two folders for the split val"),
    ],
)
def test_unclear_folders_are_reported(tmp_path, names, line):
    for name in names:
        write(tmp_path / name, table(images(1), [0]))
    assert line in refused(tmp_path)


def test_a_folder_of_one_of_several_configurations_is_enough(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "train-00000-of-00001.parquet", table(images(3), [0, 1, 0]))
    assert len(Parquet(tmp_path / "a").index().splits["train"]) == 3
    assert f"such as {tmp_path / 'a'}" in refused(tmp_path)


def test_no_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    assert "is a file" in refused(tmp_path / "file")
    assert "does not exist" in refused(tmp_path / "none")


def test_names_are_the_rows_of_the_split_whatever_the_files(tmp_path):
    written = table(images(10), [0, 1] * 5)
    for folder, cuts in (("one", [0, 10]), ("many", [0, 1, 4, 10])):
        for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
            name = f"train-{number:05d}-of-{len(cuts) - 1:05d}.parquet"
            write(tmp_path / folder / name, written.slice(start, stop - start), row_group_size=3)
    one, many = Parquet(tmp_path / "one").index(), Parquet(tmp_path / "many").index()
    assert one.splits["train"].names == many.splits["train"].names == [f"{row:08d}" for row in range(10)]
    assert one.fingerprint() == many.fingerprint()
    assert contents(Parquet(tmp_path / "one")) == contents(Parquet(tmp_path / "many")) == images(10)
    source = Parquet(tmp_path / "one")
    assert (source.default_order, one.shape) == ("source", None) and pickle.loads(pickle.dumps(source)) == source


def test_the_fingerprint_changes_with_images_labels_and_classes(tmp_path):
    tables = [
        table(images(4), [0, 1, 0, 1]),
        table(images(4), [0, 1, 1, 1]),
        table(images(5)[1:], [0, 1, 0, 1]),
        table(images(4), [0, 1, 0, 1], ["a", "b"]),
        table(images(4), [0, 1, 0, 1], ["a", "c"]),
    ]
    for number, written in enumerate(tables):
        write(tmp_path / str(number) / "a.parquet", written)
    assert len({Parquet(tmp_path / str(number)).index().fingerprint() for number in range(len(tables))}) == len(tables)


def test_files_without_rows_are_read_as_such(tmp_path):
    written = table(images(4), [0, 1, 0, 1])
    names = [f"train-{number:05d}-of-00004.parquet" for number in range(4)]
    write(tmp_path / names[0], pa.table({"image": pa.nulls(0), "label": pa.nulls(0)}))  # as pandas writes no rows
    write(tmp_path / names[1], written.slice(0, 3))
    write(tmp_path / names[2], written.slice(0, 0))
    write(tmp_path / names[3], written.slice(3))
    assert Parquet(tmp_path).index().splits["train"].names == [f"{row:08d}" for row in range(4)]
    assert contents(Parquet(tmp_path)) == images(4)
    for name in (names[1], names[3]):
        (tmp_path / name).unlink()
    assert refused(tmp_path).endswith(f"{names[0]} and all others: no rows")


def test_files_that_the_names_count_and_that_are_missing_are_reported(tmp_path):
    written = table(images(4), [0, 1, 0, 1])
    for number in (0, 2):
        write(tmp_path / "data" / f"train-{number:05d}-of-00004.parquet", written)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", written)
    assert Parquet(tmp_path).index().left_out == (
        "files of train that are missing: 2 of 4 by their names (the first is train-00001-of-00004)",
    )


def test_images_beside_the_files_are_said(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", table(images(4), [0, 1, 0, 1]))
    for name in ("cat.JPEG", "dog.png", "README.md", ".hidden.png"):
        (tmp_path / name).touch()
    assert Parquet(tmp_path).index().left_out == ("image files beside the Parquet files, left out: 2 (cat.JPEG, ...)",)
