"""The folder source lists every file once, in one order, under one name, or fails with one line."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import PipelineError, Undecodable
from pipeline.sources.folder.source import Folder


def image(path: Path, height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels


@pytest.fixture
def tree(tmp_path):
    for number, name in enumerate(["train/cat/1.png", "train/ant/b.png", "train/ant/a/z.png", "val/bee/x.png"]):
        image(tmp_path / name, seed=number)
    return tmp_path


def test_a_split_tree_is_listed_by_class_and_path(tree):
    index = Folder(tree).index()
    assert index.classes == ["ant", "bee", "cat"]
    assert list(index.splits) == ["train", "val"]
    train, val = index.splits.values()
    assert train.names == ["ant/a/z.png", "ant/b.png", "cat/1.png"]
    assert train.labels.tolist() == [0, 0, 2] and train.labels.dtype == np.int32
    assert val.names == ["bee/x.png"] and val.labels.tolist() == [1]
    assert index.shape is None
    assert Folder(tree).default_order == "shuffled"


def test_entries_give_the_files_bytes_and_pixels(tree):
    source = Folder(tree)
    entry = source.index().splits["train"].entry(0)
    raw = source.read(entry)
    assert raw == (tree / "train/ant/a/z.png").read_bytes() and entry.size == len(raw)
    pixels = np.random.default_rng(2).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(source.decode(raw).pixels, pixels.transpose(2, 0, 1))


def test_a_flat_tree_is_the_split_train_with_the_same_names(tree):
    split, flat = Folder(tree).index(), Folder(tree / "train").index()
    assert list(flat.splits) == ["train"] and flat.classes == ["ant", "cat"]
    assert flat.splits["train"].names == split.splits["train"].names


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_other_splits_keep_their_names(tmp_path, name):
    image(tmp_path / "train/a/1.png")
    image(tmp_path / name / "a/1.png")
    assert list(Folder(tmp_path).index().splits) == ["train", name]


def test_a_class_may_be_called_train(tmp_path):
    image(tmp_path / "train/1.png")
    image(tmp_path / "car/1.png")
    assert Folder(tmp_path).index().classes == ["car", "train"]


def test_no_file_but_hidden_ones_is_dropped(tree):
    (tree / "train/ant/notes.txt").write_text("no pixels")
    (tree / "train/ant/empty.png").touch()
    (tree / "train/ant/.DS_Store").touch()
    (tree / "train/.ipynb_checkpoints").mkdir()
    source = Folder(tree)
    index = source.index()
    train = index.splits["train"]
    assert train.names == ["ant/a/z.png", "ant/b.png", "ant/empty.png", "ant/notes.txt", "cat/1.png"]
    assert index.classes == ["ant", "bee", "cat"]
    for number in (2, 3):
        with pytest.raises(Undecodable):
            source.decode(source.read(train.entry(number)))


def test_what_has_no_class_is_reported_in_the_note(tree):
    image(tree / "extra/1.png")
    image(tree / "train/loose.png")
    (tree / "train/dog").mkdir()  # as after an interrupted unpacking: it is a class all the same
    (tree / "train/dog/.part").touch()
    note = Folder(tree).index().note
    assert "classes of train without a file: 1 (dog, ...)" in note
    assert "extra" in note and "outside the class folders, left out: 1" in note
    assert "classes of val that train does not have: 1 (bee, ...)" in note


def test_links_are_followed_and_circles_end(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    image(other / "far.png")
    (tree / "train/cat/linked").symlink_to(other)
    (tree / "train/cat/file.png").symlink_to(other / "far.png")
    (tree / "train/cat/circle").symlink_to(tree / "train/cat")
    (tree / "train/cat/up").symlink_to("..")
    (other / "back").symlink_to(tree / "train/cat")
    source = Folder(tree)
    index = source.index().splits["train"]
    names = [name for name in index.names if name.startswith("cat/")]
    assert names == ["cat/1.png", "cat/file.png", "cat/linked/far.png"]
    assert all(source.read(index.entry(number)) for number in range(len(index)))


def test_many_links_in_a_knot_end_soon(tmp_path):
    image(tmp_path / "a/0.png")
    for folder in range(12):
        (tmp_path / f"a/{folder}").mkdir()
        for other in range(12):
            (tmp_path / f"a/{folder}/to{other}").symlink_to(tmp_path / f"a/{other}")
    assert Folder(tmp_path).index().splits["train"].names == ["a/0.png"]


def test_a_dangling_link_is_an_error_not_a_missing_image(tree):
    (tree / "train/ant/gone.png").symlink_to("nowhere")
    with pytest.raises(PipelineError, match=r"gone\.png cannot be read: .* symbolic link that leads nowhere"):
        Folder(tree).index()


def test_names_that_are_no_utf8_work_and_sort_by_bytes(tmp_path):
    image(tmp_path / "a/1.png")
    raw = (tmp_path / "a/1.png").read_bytes()
    for name in (b"\xff.png", "ä.png".encode(), "\U0001f600.png".encode(), "\ufb01.png".encode(), b"new\nline.png"):
        with open(os.path.join(os.fsencode(tmp_path), b"a", name), "wb") as file:
            file.write(raw)
    source = Folder(tmp_path)
    index = source.index()
    names = [os.fsencode(name) for name in index.splits["train"].names]
    assert names == sorted(names) and b"a/\xff.png" in names and len(names) == 6
    assert {source.read(index.splits["train"].entry(number)) for number in range(6)} == {raw}
    assert len(index.fingerprint()) == 64


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.tuples(st.sampled_from(["a", "b", "B", "a b"]), st.text("aZ0-_é~", min_size=1, max_size=3)),
        min_size=1,
        max_size=12,
    )
)
def test_every_file_is_listed_once_in_bytewise_order(names, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for folder, name in names:
        image(root / folder / name)
    index = Folder(root).index()
    listed = [tuple(name.encode().split(b"/")) for name in index.splits["train"].names]
    assert listed == sorted((folder.encode(), name.encode()) for folder, name in names)
    assert [index.classes[label].encode() for label in index.splits["train"].labels] == [folder for folder, _ in listed]


def test_the_fingerprint_is_that_of_the_content_and_not_of_the_place(tree, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for path in sorted(tree.rglob("*.png"), reverse=True):
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    before = Folder(tree).index().fingerprint()
    assert Folder(copy).index().fingerprint() == before
    (copy / "train/cat/2.png").write_bytes(b"more")
    assert Folder(copy).index().fingerprint() != before


def test_a_changed_or_vanished_file_is_an_os_error(tree):
    source = Folder(tree)
    train = source.index().splits["train"]
    (tree / "train/ant/b.png").write_bytes(b"short")
    (tree / "train/cat/1.png").unlink()
    with pytest.raises(OSError, match="when it was indexed"):
        source.read(train.entry(1))
    with pytest.raises(FileNotFoundError):
        source.read(train.entry(2))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda root: root.rmdir(), "does not exist"),
        (lambda root: (root.rmdir(), root.write_text("")), "is a file"),
        (lambda root: None, "is empty"),
        (lambda root: (root / "train").mkdir(), "is empty"),
        (lambda root: image(root / "1.png"), "has 1 files but no class folders"),
        (lambda root: image(root / "train/1.png"), "has 1 files but no class folders"),
        (lambda root: (root / "a").mkdir(), "has class folders .* but no file in them"),
        (lambda root: (root / "train/a").mkdir(parents=True), "has class folders .* but no file in them"),
    ],
)
def test_a_folder_without_images_is_reported_in_one_line(tmp_path, make, line):
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(PipelineError, match=line) as caught:
        Folder(root).index()
    assert caught.value.status == 1 and "\n" not in str(caught.value)


def test_ten_thousand_files_are_listed_in_a_moment(tmp_path):
    image(tmp_path / "a/0.png")
    for number in range(10_000):
        (tmp_path / f"a/{number:05d}").touch()
    started = time.perf_counter()
    assert len(Folder(tmp_path).index().splits["train"]) == 10_001
    assert time.perf_counter() - started < 2
