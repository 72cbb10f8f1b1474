"""The Parquet source finds images, labels and class names, or says in one line what is wrong."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from pipeline.sources.description import describe
from pipeline.sources.parquet.source import Parquet
from tests.unit.sources.parquet.make import BYTES, contents, images, metadata, refused, table, write


def test_class_names_of_the_metadata_are_in_their_order(tmp_path):
    write(tmp_path / "a.parquet", table(images(3), [2, 0, 2], ["zebra", "ant", "bee"]))
    index = Parquet(tmp_path).index()
    assert index.classes == ["zebra", "ant", "bee"] and index.splits["train"].labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_names_as_labels_are_sorted_over_all_splits(tmp_path, kind):
    for split, names in (("train", ["b", "é", "b", "c"]), ("test", ["a", "c"])):
        column = pa.array(names, pa.string()).cast(kind)
        written = pa.table(
            {"image": images(len(names)), "label": column}, schema=pa.schema([("image", pa.binary()), ("label", kind)])
        )
        write(tmp_path / f"{split}.parquet", written, row_group_size=2)
    index = Parquet(tmp_path).index()
    assert index.classes == ["a", "b", "c", "é"]
    assert [listed.labels.tolist() for listed in index.splits.values()] == [[1, 3, 1, 2], [0, 2]]


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64", "uint64"])
def test_numbers_as_labels_are_the_classes(tmp_path, kind):
    write(tmp_path / "a.parquet", table(images(3), pa.array([4, 0, 2], kind)))
    index = Parquet(tmp_path).index()
    assert index.classes == ["0", "1", "2", "3", "4"] and index.splits["train"].labels.tolist() == [4, 0, 2]


def test_a_class_list_gives_the_labels(tmp_path):
    (tmp_path / "list.txt").write_text("ant\nbee\nzebra\n")
    tables = [
        (table(images(3), [1, 0, -1], ["zebra", "ant"]), [0, 2]),
        (columns(image=images(2), label=["bee", "ant"]), [1, 0]),
        (columns(image=images(2), label=[2, 0]), [2, 0]),
    ]
    for number, (written, labels) in enumerate(tables):
        write(tmp_path / str(number) / "a.parquet", written)
        index = Parquet(tmp_path / str(number), classes=tmp_path / "list.txt").index()
        assert index.classes == ["ant", "bee", "zebra"] and index.splits["train"].labels.tolist() == labels
    write(tmp_path / "wrong" / "a.parquet", table(images(1), [0], ["cat"]))
    assert "the class cat is not in the 3 names" in refused(tmp_path / "wrong", None, None, tmp_path / "list.txt")


def test_rows_without_a_label_or_an_image_are_counted_and_left_out(tmp_path):
    write(tmp_path / "train.parquet", table([b"a", None, b"c", b"d", None], [0, 1, None, 1, None], ["x", "y"]))
    write(tmp_path / "test.parquet", table([b"a", b"b"], [-1, -1], ["x", "y"]))
    index = Parquet(tmp_path).index()
    assert list(index.splits) == ["train"] and index.splits["train"].names == ["00000000", "00000003"]
    assert index.left_out == (
        "rows of train without the bytes of an image, left out: 2 (the first is row 1)",
        "rows of train without a label, left out: 1 (the first is row 2)",
        "rows of test without a label, left out: 2 (the first is row 0)",
    )
    assert index.note == "; ".join(index.left_out)


def test_files_without_any_image_or_label_are_refused(tmp_path):
    write(tmp_path / "a" / "a.parquet", table([None, None], [0, 1]))  # their images are URLs or other files
    assert "rows of train without the bytes of an image, left out: 2" in refused(tmp_path / "a")
    write(tmp_path / "b" / "a.parquet", table([b"a"], [-1]))
    assert "rows of train without a label, left out: 1" in refused(tmp_path / "b")


def columns(**named: object) -> pa.Table:
    return pa.table(named)


def test_columns_are_those_of_the_metadata_or_the_only_ones(tmp_path):
    picture = pa.array([{"bytes": b"1", "path": None}, {"bytes": b"22", "path": None}], BYTES)
    mask = pa.array([{"bytes": b"m", "path": None}] * 2, BYTES)
    for number, (written, keys, image, label) in enumerate([
        (columns(img=picture, label=[0, 1]), (), [b"1", b"22"], [0, 1]),
        (columns(photo=picture, kind=[1, 0], text=["a", "b"]).drop(["text"]), (), [b"1", b"22"], [1, 0]),
        (columns(image=picture, mask=mask, label=[1, 0]), (), [b"1", b"22"], [1, 0]),
        (columns(image=picture, mask=mask, label=[1, 0]), ("mask", None), [b"m", b"m"], [1, 0]),
        (columns(image=picture, id=[7, 8], label=[1, 0], height=[1, 1]), (), [b"1", b"22"], [1, 0]),
        (columns(image=picture, id=[3, 2], label=[1, 0]), (None, "id"), [b"1", b"22"], [3, 2]),
        (
            columns(a=picture, image=mask, x=[1, 0], label=[5, 5]).replace_schema_metadata(metadata(["p", "q"], "a", "x")),
            (), [b"1", b"22"], [1, 0],
        ),
        (columns(**{"a.b": picture, "label": [1, 0]}), (), [b"1", b"22"], [1, 0]),
    ]):  # fmt: skip
        write(tmp_path / str(number) / "a.parquet", written)
        source = Parquet(tmp_path / str(number), *keys)
        assert contents(source) == image, number
        assert source.index().splits["train"].labels.tolist() == label


@pytest.mark.parametrize(
    ("written", "keys", "line"),
    [
        (columns(image=[b"a"]), (), "no column of whole numbers or names; it has 'image' (bytes)"),
        (columns(label=[1]), (), "no column of the bytes of image files; it has 'label' (whole numbers)"),
        (columns(image=[b"a"], label=[True]), (), "'image' (bytes), 'label' (BOOLEAN)"),
        (columns(image=[b"a"], label=[1]), ("img",), "no column 'img' (--image-key), did you mean 'image'?"),
        (columns(image=[b"a"], label=[1]), (None, "labels"), "no column 'labels' (--label-key), did you mean 'label'?"),
        (columns(image=[b"a"], label=[1.5]), (None, "label"), "'label' (--label-key) holds DOUBLE, not whole numbers"),
        (columns(image=["a"], label=[1]), ("image",), "'image' (--image-key) holds texts, not the bytes of image files"),
        (columns(image=[[b"a"]], label=[1]), (), "no column of the bytes"),
        (columns(image=[[[1, 2]]], label=[1]), (), "no column of the bytes"),
        (columns(a=[b"a"], b=[b"a"], label=[1]), (), "can be the image, 'a', 'b': name one with --image-key"),
        (columns(image=[b"a"], a=[1], b=[2]), (), "can be the label, 'a', 'b': name one with --label-key"),
        (columns(image=[b"a"], label=[[1, 2]]), (), "no column of whole numbers"),
        (columns(image=[b"a"], label=[-2]), (), "row 0 has the label -2"),
        (columns(image=[b"a"], label=[100_000]), (), "row 0 has the label 100000"),
        (columns(image=[b"a"], label=[""]), (), "the label '', which is no class name"),
        (table([b"a"], [2], ["x", "y"]), (), "row 0 has the label 2; labels are 0, 1, 2, ... and its metadata"),
        (table([b"a"], [0], ["x", "x"]), (), "two labels of 'label' one class name"),
        (table([b"a"], [0], ["x", " "]), (), "not all texts"),
    ],
)  # fmt: skip
def test_wrong_columns_are_one_line(tmp_path, written, keys, line):
    pad = pa.table({"pad": [os.urandom(20)] * len(written)}, schema=pa.schema([("pad", pa.binary(20))]))
    write(tmp_path / "a.parquet", written.append_column("pad", pad["pad"]))
    assert line in refused(tmp_path, *keys)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (table([b"a"], ["cat"]), "labels in label (numbers)"),
        (table([b"a"], [0], ["x"]), "with 1 class names"),
        (columns(image=[b"a"], label=[0]), "images in image, labels"),
        (columns(image=[b"a"]), "no column of whole numbers or names"),
    ],
)
def test_mixed_schemas_are_one_line(tmp_path, other, line):
    first = write(tmp_path / "a-train.parquet", table([b"a"], [0]))
    second = write(tmp_path / "b-test.parquet", other)
    text = refused(tmp_path)
    assert line in text and str(second) in text
    assert str(first) in text or "no column" in line


def test_other_class_names_are_mixed_schemas(tmp_path):
    write(tmp_path / "a.parquet", table([b"a"], [0], ["x", "y"]))
    write(tmp_path / "b.parquet", table([b"a"], [0], ["x", "z"]))
    assert "different class names" in refused(tmp_path)


def test_the_columns_are_said(tmp_path):
    write(tmp_path / "train.parquet", table([b"a", b"b"], [0, 1], ["x", "y"]))
    source, understood = describe(Parquet(tmp_path).index())
    assert source == "source: train 2 images; 2 classes, x (0) to y (1)"
    assert understood == "understood: the images are those of column image, the labels those of label"


def test_the_keys_go_with_their_datasets(refused, tmp_path):  # the fixture, which runs a build
    arguments = ("--data-dir", tmp_path / "data", "--out", tmp_path / "out", "--ranks", 2)
    assert "image-key: goes with --dataset parquet" in refused("--dataset", "folder", "--image-key", "x", *arguments)
    assert "label-key: goes with" in refused("--dataset", "arrays", "--label-key", "x", *arguments)
    assert "parquet needs --data-dir" in refused("--dataset", "parquet", "--out", tmp_path / "out", "--ranks", 2)


def test_a_compressed_file_needs_pyarrow(tmp_path):
    write(tmp_path / "data" / "a.parquet", table([b"a"], [0]))
    script = "import sys; sys.modules['pyarrow'] = None; from pipeline.build import main; sys.exit(main(sys.argv[1:]))"
    options = [
        "--dataset",
        "parquet",
        "--data-dir",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--ranks",
        "2",
    ]
    line = "its pages are compressed (snappy), and pyarrow is not installed: pip install 'rank-shards[parquet]'"
    for scanned in (False, True):  # with pyarrow, on another node or before
        if scanned:
            Parquet(tmp_path / "data").index()
        ran = subprocess.run([sys.executable, "-c", script, *options], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert f"{tmp_path / 'data' / 'a.parquet'}: {line}" in ran.stderr.splitlines()[-1]
        assert ran.stderr.count("error: ") == 1 and (scanned or ran.stderr.count("\n") == 1)
