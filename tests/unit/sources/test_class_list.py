"""Class lists give the classes of a source their labels: those of ImageNet, or those of a file."""

import json
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.sources import open_source
from pipeline.sources.class_list import OFFICIAL, read_class_list
from pipeline.sources.description import describe
from pipeline.sources.folder.source import Folder
from pipeline.sources.index import SourceIndex
from tests.unit.sources.test_layouts import NFC, NFD, refused, write

COCK, HEN = "n01514668", "n01514859"


def labelled(index: SourceIndex) -> dict[str, int]:
    """The label of each entry of train, by name."""
    train = index.splits["train"]
    return dict(zip(train.names, train.labels.tolist(), strict=True))


def listed(tmp_path: Path, content: str, name: str = "list.txt") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def wrong(file: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        read_class_list(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_official_list_is_that_of_keras_and_of_kaggle(shared):
    keras = json.loads((shared / "data/imagenet-meta/imagenet_class_index.json").read_text())
    kaggle = [
        line.split()[0] for line in (shared / "data/imagenet-meta/LOC_synset_mapping.txt").read_text().splitlines()
    ]
    names = read_class_list(OFFICIAL).names
    assert names == [keras[str(label)][0] for label in range(1000)] == kaggle


def test_keras_and_kaggles_files_are_class_lists(shared):
    synsets = ["n01440764", "n15075141"]
    for file in ("imagenet_class_index.json", "LOC_synset_mapping.txt"):
        assert read_class_list(shared / "data/imagenet-meta" / file).labels(synsets, "x") == {
            synsets[0]: 0,
            synsets[1]: 999,
        }


@pytest.mark.parametrize("dataset", ["folder", "imagenet"])
def test_classes_keep_their_places_among_the_thousand(tmp_path, dataset):
    write(tmp_path, f"train/{COCK}/1.JPEG", f"train/{HEN}/1.JPEG", f"val/{HEN}/2.JPEG")
    index = open_source(dataset, tmp_path, classes=OFFICIAL).index()
    assert len(index.classes) == 1000 and index.classes[7:9] == [COCK, HEN]
    assert labelled(index) == {f"{COCK}/1.JPEG": 7, f"{HEN}/1.JPEG": 8} and index.splits["val"].labels.tolist() == [8]
    assert "labels: 2 of 1,000 classes have images" in describe(index)
    assert "2 of 1,000 classes have images" in index.note and "not the official" not in index.note


def test_a_complete_list_changes_nothing(tmp_path):
    root = write(tmp_path / "in", "ant/1.png", "bee/1.png")
    plain, same = Folder(root).index(), Folder(root, listed(tmp_path, "ant\nbee\n")).index()
    assert plain.fingerprint() == same.fingerprint() and plain.note == same.note == ""


def test_another_list_is_another_source(tmp_path):
    root = write(tmp_path / "in", "ant/1.png", "bee/1.png")
    prints = {
        Folder(root, listed(tmp_path, text)).index().fingerprint() for text in ("ant\nbee", "bee\nant", "ant\nbee\nc")
    }
    assert len(prints) == 3


def test_order_and_names_do_not_depend_on_the_list(tmp_path):
    root = write(tmp_path / "in", "ant/1.png", "bee/1.png")
    index = Folder(root, listed(tmp_path, "zoo\nbee\nant\n")).index()
    assert labelled(index) == {"ant/1.png": 2, "bee/1.png": 1} and index.splits["train"].names == [
        "ant/1.png",
        "bee/1.png",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '["bee", "ant"]'),
        ("a.json", '{"classes": ["bee", "ant"], "other": 1}'),
        ("a.json", '{"0": "bee", "1": "ant"}'),
        ("a.JSON", '{"1": ["ant", "an ant"], "0": ["bee", "a bee"]}'),
        ("a.txt", "bee\r\nant\r\n"),
        ("a.txt", "\ufeffbee\nant"),
    ],
)
def test_lists_are_text_or_json(tmp_path, name, content):
    root = write(tmp_path / "in", "ant/1.png", "bee/1.png")
    assert labelled(Folder(root, listed(tmp_path, content, name)).index()) == {"ant/1.png": 1, "bee/1.png": 0}


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.json", "[1, 2]", "no list of class names"),
        ("a.json", '{"1": "ant"}', "no list of class names"),
        ("a.json", "[", "no valid JSON"),
        ("a.json", "[" * 100_000, "no valid JSON"),
        ("a.json", "[]", "holds no class names"),
        ("a.json", '["a", " "]', "no list of class names"),
        ("a.txt", "", "holds no class names"),
        ("a.txt", "a\n\nb", "line 2 is empty"),
        ("a.txt", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, name, content, part):
    line = wrong(listed(tmp_path, content, name))
    assert part in line and name in line


def test_a_missing_list_is_named(tmp_path):
    assert "missing.txt does not exist; --classes takes a file" in wrong(tmp_path / "missing.txt")
    assert "did you mean 'imagenet'?" in wrong(Path("imagnet"))


def test_numbered_folders_are_labels(tmp_path):
    """ImageNet-V2; as text, 10 would be label 1."""
    index = Folder(write(tmp_path, "0/a.jpeg", "7/b.jpeg", "10/c.jpeg", "008/d.jpeg"), OFFICIAL).index()
    assert labelled(index) == {"0/a.jpeg": 0, "7/b.jpeg": 7, "10/c.jpeg": 10, "008/d.jpeg": 8}
    assert index.classes[8] == HEN


def test_a_list_may_name_numbers(tmp_path):
    root = write(tmp_path / "in", "0/a.png", "1/a.png")
    assert labelled(Folder(root, listed(tmp_path, "1\n0\n")).index()) == {"0/a.png": 1, "1/a.png": 0}


def test_words_of_official_classes_are_found(tmp_path):
    index = Folder(write(tmp_path, "hen/a.png", "tench, Tinca tinca/a.png"), OFFICIAL).index()
    assert labelled(index) == {"hen/a.png": 8, "tench, Tinca tinca/a.png": 0} and index.classes[8] == HEN


@pytest.mark.parametrize("forms", [(NFC, NFD), (NFD, NFC)])
def test_a_class_is_found_in_any_normal_form(tmp_path, forms):
    root = write(tmp_path / "in", f"{forms[0]}/1.png")
    assert labelled(Folder(root, listed(tmp_path, f"x\n{forms[1]}\n")).index()) == {f"{forms[0]}/1.png": 1}


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ([f"{COCK}/1.png", "n00000001/1.png"], ["n00000001", "not in the 1,000 names", "--classes imagenet"]),
        (["cat/1.png", "dog/1.png", "cow/1.png"], ["cat and 2 more", "not in"]),
        (["n01514669/1.png"], ["did you mean 'n01514668'"]),
        (["7/1.png", "1000/1.png"], ["1000", "not in"]),
        (["7/1.png", "07/1.png"], ["07 and 7 are both"]),
        (["7/1.png", f"{COCK}/1.png"], ["the class 7 "]),
        (["cock/1.png", f"{COCK}/1.png"], [f"cock and {COCK} are both"]),
    ],
)
def test_a_class_without_one_place_is_named(tmp_path, files, parts):
    write(tmp_path, *files)
    with pytest.raises(PipelineError) as caught:
        Folder(tmp_path, OFFICIAL).index()
    assert all(part in str(caught.value) for part in [*parts, str(tmp_path)])


def test_imagenet_with_a_list_of_its_own(tmp_path):
    root = write(tmp_path / "in", f"train/{COCK}/1.JPEG", f"train/{HEN}/1.JPEG")
    index = open_source(
        "imagenet", root, classes=listed(tmp_path, f"{HEN} hen\nn01440764 tench\n{COCK} cock\n")
    ).index()
    assert labelled(index) == {f"{COCK}/1.JPEG": 2, f"{HEN}/1.JPEG": 0}
    assert index.classes == [f"{HEN} hen", "n01440764 tench", f"{COCK} cock"]


@pytest.mark.parametrize("dataset", ["sample", "cifar10", "cifar100"])
def test_other_sources_have_their_own_classes(dataset):
    with pytest.raises(UsageError, match="has its own classes"):
        open_source(dataset, classes=OFFICIAL)


def test_synset_folders_are_no_imagenet_but_the_line_says_what_they_are(tmp_path):
    line = refused(tmp_path, f"{COCK}/1.JPEG", "README.txt", dataset="imagenet")
    assert "--dataset folder --classes imagenet" in line
