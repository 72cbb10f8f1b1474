"""Layouts of folders as people have them: the right splits and classes, or one line that says what is not clear."""

from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.sources import open_source
from pipeline.sources.description import describe, describe_left_out
from pipeline.sources.folder.source import Folder
from pipeline.sources.index import SourceIndex

NFC, NFD = "caf\u00e9", "cafe\u0301"


def write(root: Path, *files: str) -> Path:
    """Creates files of a few bytes. A name that ends with "/" is a folder."""
    for file in files:
        path = root / file
        (path if file.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.write_bytes(b"x")
    return root


def index(root: Path, *files: str) -> SourceIndex:
    return Folder(write(root, *files)).index()


def refused(root: Path, *files: str, dataset: str = "folder") -> str:
    with pytest.raises(PipelineError) as caught:
        open_source(dataset, write(root, *files)).index()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Splits


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["training/cat/1.png", "testing/cat/2.png"], {"train": "training/cat/1.png", "test": "testing/cat/2.png"}),
        (["train/cat/1.png", "valid/cat/2.png"], {"train": "train/cat/1.png", "val": "valid/cat/2.png"}),
        (["Train/cat/1.png", "TEST/cat/2.png"], {"train": "Train/cat/1.png", "test": "TEST/cat/2.png"}),
        (["train/cat/1.png", "dev/cat/2.png"], {"train": "train/cat/1.png", "val": "dev/cat/2.png"}),
        (["train/cat/1.png", "eval/cat/2.png"], {"train": "train/cat/1.png", "test": "eval/cat/2.png"}),
        (["train2017/cat/1.png", "val2017/cat/2.png"], {"train": "train2017/cat/1.png", "val": "val2017/cat/2.png"}),
        (
            ["seg_train/seg_train/cat/1.png", "seg_test/seg_test/cat/2.png", "seg_pred/seg_pred/3.png"],
            {"train": "seg_train/seg_train/cat/1.png", "test": "seg_test/seg_test/cat/2.png"},
        ),
        (["train/train/cat/1.png", "test/cat/2.png"], {"train": "train/train/cat/1.png", "test": "test/cat/2.png"}),
    ],
)
def test_splits_are_recognised(tmp_path, files, splits):
    source = index(tmp_path, *files)
    assert {split: entries.files[0] for split, entries in source.splits.items()} == splits
    assert source.classes == ["cat"] and [entries.names[0][:4] for entries in source.splits.values()] == ["cat/"] * 2
    assert source.readings


def test_plain_names_need_no_explanation(tmp_path):
    source = index(tmp_path, "train/cat/1.png", "val/cat/1.png", "validation/cat/1.png", "test/cat/1.png")
    assert list(source.splits) == ["train", "val", "validation", "test"] and not source.readings


def test_what_is_beside_the_splits_is_named(tmp_path):
    source = index(tmp_path, "train/cat/1.png", "extra/1.png", "test/unlabelled.png", "train/loose.png")
    assert list(source.splits) == ["train"]
    (line,) = describe_left_out(source)
    assert "extra" in line and "test" in line and "files outside the class folders: 1" in line


@pytest.mark.parametrize("name", ["train", "steam_train", "test_tube", "dev-board"])
def test_a_class_may_have_a_word_of_a_split_in_its_name(tmp_path, name):
    source = index(tmp_path, f"{name}/1.png", "car/1.png")
    assert sorted(source.classes) == sorted(["car", name]) and list(source.splits) == ["train"]


def test_such_a_class_may_have_folders_too(tmp_path):
    assert index(tmp_path, "steam_train/1.png", "steam_train/old/2.png", "car/1.png").classes == ["car", "steam_train"]


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["steam_train/old/1.png", "car/1.png"], ["steam_train", "car"]),
        (["train/cat/1.png", "training/cat/1.png"], ["train and training", "the split train"]),
        (["val/cat/1.png", "valid/cat/1.png", "train/cat/1.png"], ["val and valid"]),
        (["training/1.png", "testing/1.png"], ["no class folders"]),
        (["a_train/1.png", "a_test/1.png"], ["no class folders"]),
        (["training/1.png", "testing/1.png", "notes/1.png"], ["testing and training"]),
    ],
)
def test_an_unclear_choice_is_left_to_the_user(tmp_path, files, parts):
    line = refused(tmp_path, *files)
    assert all(part in line for part in parts)


# Classes


@pytest.mark.parametrize(
    "files",
    [
        ["archive/train/cat/1.png", "archive/test/cat/1.png"],
        ["images/cat/1.png", "images/dog/1.png"],
        ["101_ObjectCategories/cat/1.png"],
        ["train/animals/cat/1.png", "train/animals/dog/1.png"],
        ["cat/train/1.png", "cat/test/1.png", "cat/1.png", "dog/1.png"],
    ],
)
def test_a_folder_of_folders_is_no_class(tmp_path, files):
    line = refused(tmp_path, *files)
    folder = tmp_path / ("train/animals" if files[0].startswith("train") else files[0].partition("/")[0])
    assert (str(folder) in line and f"--data-dir {folder}" in line) or f"if {folder} holds the splits" in line


def test_folders_beside_the_images_of_a_class_are_part_of_it(tmp_path):
    assert index(tmp_path, "cat/1.png", "cat/more/2.png").splits["train"].names == ["cat/1.png", "cat/more/2.png"]


@pytest.mark.parametrize("pile", ["images", "JPEGImages", "unlabeled"])
def test_a_pile_of_images_is_no_class(tmp_path, pile):
    line = refused(tmp_path, "train/cat/1.png", "train/dog/1.png", f"val/{pile}/1.png")
    assert f"val/{pile}" in line and "labels are unknown" in line


def test_a_class_may_be_called_images_where_train_has_it(tmp_path):
    assert index(tmp_path, "train/images/1.png", "train/cat/1.png", "val/images/1.png").classes == ["cat", "images"]


# Unicode


def test_one_name_in_two_normal_forms_is_one_class(tmp_path):
    source = index(tmp_path, f"train/{NFC}/1.png", f"val/{NFD}/1.png", "train/zebra/1.png", "val/cafz/1.png")
    assert source.classes == [NFC, "cafz", "zebra"] or source.classes == sorted([NFC, "cafz", "zebra"], key=str.encode)
    label = source.classes.index(NFC)
    train, val = source.splits.values()
    assert train.names[0] == f"{NFC}/1.png" and train.labels[0] == label
    place = val.names.index(f"{NFC}/1.png")
    assert val.labels[place] == label and val.files[place] == f"val/{NFD}/1.png"
    assert r"caf\xe9" in source.note and r"cafe\u0301" in source.note and source.readings


def test_a_name_in_one_form_stays_as_it_is(tmp_path):
    source = index(tmp_path, f"train/{NFD}/1.png", f"val/{NFD}/1.png")
    assert source.classes == [NFD] and not source.readings and not source.note


@pytest.mark.parametrize("names", [(NFC, NFD), ("\u1112\u1161\u11ab", "\ud55c"), ("\u212b", "\u00c5")])
def test_two_folders_of_one_name_are_refused_with_both_spellings(tmp_path, names):
    line = refused(tmp_path, *(f"train/{name}/1.png" for name in names))
    assert all(ascii(name) in line for name in names) and line.isascii()


# What systems leave behind

LEFT_BEHIND = [
    "__MACOSX/cat/._1.png", "lost+found/", "@eaDir/1.png/x.jpg", "$RECYCLE.BIN/x.png", ".ipynb_checkpoints/1.png",
    ".Trashes/x.png", "System Volume Information/x", ".Spotlight-V100/x", ".fseventsd/x", "#recycle/x.png",
    ".dropbox.cache/x.png", "FOUND.000/x.png", "__pycache__/x", "~snapshot/x.png", "Network Trash Folder/x",
    "cat/Thumbs.db", "cat/desktop.ini", "cat/Desktop.ini", "cat/.DS_Store", "cat/@eaDir/1.jpg", "cat/Icon\r",
    "cat/ehthumbs.db", "cat/.directory",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT_BEHIND)
@pytest.mark.parametrize("split", ["", "train/"])
def test_it_is_neither_class_nor_image(tmp_path, name, split):
    source = index(tmp_path, f"{split}cat/1.png", f"{split}dog/2.png", split + name)
    assert source.classes == ["cat", "dog"] and source.splits["train"].names == ["cat/1.png", "dog/2.png"]
    assert len(describe_left_out(source)) == 1


def test_beside_the_splits_it_is_no_split(tmp_path):
    source = index(tmp_path, "train/cat/1.png", "__MACOSX/train/cat/._1.png", "lost+found/")
    assert source.classes == ["cat"] and list(source.splits) == ["train"]


# The description


def test_the_description_has_splits_and_classes(tmp_path):
    source = index(tmp_path, "training/ant/1.png", "training/cat/2.png", "testing/bee/1.png")
    first, second = describe(source)
    assert first == "source: train 2 images, test 1 image; 3 classes, ant (0) to cat (2)"
    assert "training/ is the split train" in second and describe_left_out(source) == []


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["0", "1", "2", "10"], "class 10 has the label 2"),
        (["8", "9", "10"], "class 10 has the label 0"),
        (["0", "1", "2"], ""),
        (["001", "010", "100"], ""),
        (["0", "2", "10", "x"], ""),
    ],
)
def test_labels_of_numbered_classes_that_are_sorted_as_text_are_described(tmp_path, names, line):
    _, *more = describe(index(tmp_path, *(f"{name}/1.png" for name in names)))
    assert [text for text in more if line in text] == more and len(more) == bool(line)


def test_one_class_and_names_that_terminals_obey_are_described(tmp_path):
    (line,) = describe(index(tmp_path, "\x1b[2J/1.png"))
    assert line == r"source: train 1 image; 1 class, \x1b[2J (0)"
