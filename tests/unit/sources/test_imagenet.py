"""The ImageNet source gives one index from every form of the data, reads bytes in place, and has a line for each mistake."""

import gzip
import os
import pickle
import re
import tarfile
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import Geometry
from pipeline.sources import manifests, saved_index
from pipeline.sources.imagenet import archive as imagenet_archive
from pipeline.sources.imagenet import manifest
from pipeline.sources.imagenet import source as imagenet
from pipeline.sources.imagenet.archive import list_train
from pipeline.sources.imagenet.meta import read_synsets
from pipeline.sources.imagenet.source import open_imagenet
from tests.unit.sources.make_imagenet import (
    Photograph,
    devkit,
    make_archives,
    make_kaggle,
    make_tree,
    photographs,
    tar_bytes,
)

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT, TABLE = "ILSVRC2012_devkit_t12.tar.gz", "LOC_val_solution.csv"
LIST = "imagenet_2012_validation_synset_labels.txt"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "rank-shards" / "imagenet"


@pytest.fixture(scope="session")
def images(shared):
    return photographs(shared / "data" / "imagenet-samples")


@pytest.fixture
def few():
    """Two synsets of three and two images of a few bytes each."""
    images = [
        Photograph("train", s, f"{s}_{n}.JPEG", f"{s} {n}".encode())
        for s in ("n01440764", "n01443537")
        for n in range(3)
    ]
    synsets = ("n01443537", "n01440764", "n01443537", "n01440764")
    images += [Photograph("val", s, f"ILSVRC2012_val_{n:08d}.JPEG", f"v{n}".encode()) for n, s in enumerate(synsets, 1)]
    return images


@pytest.fixture
def archives(tmp_path, few):
    make_archives(tmp_path / "data", few)
    return tmp_path / "data"


def refused(folder: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        open_imagenet(folder).index()
    line = str(caught.value)
    assert "\n" not in line and caught.value.status == 1
    return line


# One index from every form


FORMS = {
    "archives and devkit": (lambda folder, images: make_archives(folder, images, "devkit"), ""),
    "archives and unpacked devkit": (lambda folder, images: make_archives(folder, images, "unpacked"), ""),
    "archives and list": (lambda folder, images: make_archives(folder, images, "list"), ""),
    "archives and table": (lambda folder, images: make_archives(folder, images, "table"), ""),
    "tree": (make_tree, ""),
    "kaggle": (make_kaggle, ""),
    "kaggle, from ILSVRC": (make_kaggle, "ILSVRC"),
    "kaggle, from Data": (make_kaggle, "ILSVRC/Data"),
    "kaggle, from CLS-LOC": (make_kaggle, "ILSVRC/Data/CLS-LOC"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_index_fingerprint_and_bytes(tmp_path, images, form):
    make, below = FORMS[form]
    make(tmp_path, images)
    source = open_imagenet(tmp_path / below)
    index = source.index()
    synsets = sorted({image.synset for image in images})
    assert index.classes == synsets and len(synsets) == 20
    assert list(index.splits) == ["train", "val"] and index.shape is None
    for split, listed in index.splits.items():
        expected = sorted(
            (image for image in images if image.split == split), key=lambda i: f"{i.synset}/{i.file}".encode()
        )
        assert listed.names == [f"{image.synset}/{image.file}" for image in expected]
        assert listed.labels.tolist() == [synsets.index(image.synset) for image in expected]
        assert listed.labels.dtype == np.int32
        assert listed.sizes.tolist() == [len(image.content) for image in expected]
        for number, image in enumerate(expected):
            assert source.read(listed.entry(number)) == image.content
    assert index.checksums == {} and index.verified is None
    make_tree(tmp_path / "other", images)
    other = open_imagenet(tmp_path / "other").index()
    assert index.fingerprint() == other.fingerprint()
    assert (index.title, index.terms, index.note) == (other.title, other.terms, other.note)


@pytest.mark.parametrize(("train", "val"), [("Train", "validation"), ("training", "valid"), ("img_train", "img_val")])
def test_folders_of_splits_may_have_other_names(tmp_path, few, train, val):
    make_tree(tmp_path / "a", few)
    make_tree(tmp_path / "b", few)
    (tmp_path / "b/train").rename(tmp_path / "b" / train)
    (tmp_path / "b/val").rename(tmp_path / "b" / val)
    plain, other = open_imagenet(tmp_path / "a").index(), open_imagenet(tmp_path / "b").index()
    assert other.fingerprint() == plain.fingerprint() and other.note == plain.note
    assert f"{val}/ is the split val" in other.readings and not plain.readings


def test_a_folder_without_labels_is_left_out_and_named(tmp_path, few):
    make_tree(tmp_path, few)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/ILSVRC2012_test_00000001.JPEG").touch()
    index = open_imagenet(tmp_path).index()
    assert list(index.splits) == ["train", "val"] and index.left_out[0].endswith(": test")


def test_two_folders_for_one_split_are_reported(tmp_path, few):
    make_tree(tmp_path, few)
    (tmp_path / "val").rename(tmp_path / "valid")
    (tmp_path / "validation").mkdir()
    assert "valid and validation" in refused(tmp_path)


@pytest.mark.parametrize("name", ["train/lost+found", "val/__MACOSX", "train/n01440764/Thumbs.db", "@eaDir"])
def test_what_systems_leave_behind_changes_nothing(tmp_path, few, name):
    make_tree(tmp_path, few)
    before = open_imagenet(tmp_path).index().fingerprint()
    (tmp_path / name).touch() if "." in name else (tmp_path / name).mkdir()
    assert open_imagenet(tmp_path).index().fingerprint() == before


def test_what_is_missing_of_the_set_is_said(archives):
    note = open_imagenet(archives).index().note
    assert "2 of 1,000 classes, so that labels are not the official ones" in note
    assert "train: 6 of 1,281,167 images; val: 4 of 50,000 images" in note


def test_a_full_set_has_the_official_labels_and_no_note(tmp_path, monkeypatch):
    official = manifest.load()
    images = [Photograph("train", s, f"{s}_1.JPEG", b"x") for s in official.synsets]
    names = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 1001)]
    images += [Photograph("val", s, name, b"y") for s, name in zip(reversed(official.synsets), names, strict=True)]
    make_archives(tmp_path, images)
    monkeypatch.setitem(official.images, "train", 1000)
    monkeypatch.setitem(official.images, "val", 1000)
    monkeypatch.setattr(manifest, "load", lambda: official)
    index = open_imagenet(tmp_path).index()
    assert index.classes == list(official.synsets) and index.note == ""
    assert index.splits["train"].labels.tolist() == list(range(1000))
    entry = index.splits["val"].entry(999)
    assert (entry.label, entry.name) == (999, "n15075141/ILSVRC2012_val_00000001.JPEG")


@pytest.mark.parametrize("first", [1, 3])
def test_labels_of_a_full_set_that_do_not_come_out_even_are_reported(archives, few, monkeypatch, first):
    official = manifest.load()
    synsets = {synset: official.synsets[synset] for synset in ("n01440764", "n01443537")}
    monkeypatch.setattr(manifest, "load", lambda: replace(official, synsets=synsets, images={"train": 6, "val": 4}))
    assert open_imagenet(archives).index().note == ""
    (archives / DEVKIT).unlink()
    (archives / LIST).write_text("n01440764\n" * first + "n01443537\n" * (4 - first))
    assert f"{LIST} does not give each synset 2 images" in refused(archives)


def test_one_split_alone_is_read(archives):
    (archives / VAL).unlink()
    assert list(open_imagenet(archives).index().splits) == ["train"]


def test_each_split_may_have_its_own_form(tmp_path, archives, few):
    (archives / TRAIN).unlink()
    make_tree(archives, [image for image in few if image.split == "train"])
    source = open_imagenet(archives)
    make_tree(tmp_path / "tree", few)
    assert source.index().fingerprint() == open_imagenet(tmp_path / "tree").index().fingerprint()
    assert source.read(source.index().splits["train"].entry(0)) == b"n01440764 0"


def test_an_archive_with_folders_dots_and_hidden_files_gives_the_same_names(archives, few):
    before = open_imagenet(archives).index()
    tars = []
    for synset in ("n01443537", "n01440764"):
        files = [(f"./{synset}/{i.file}", i.content) for i in few if i.split == "train" and i.synset == synset]
        tars.append((f"./{synset}.tar", tar_bytes([*files, (f"{synset}/._x.JPEG", b"")], tarfile.PAX_FORMAT)))
    (archives / TRAIN).write_bytes(tar_bytes([*tars, ("._n01440764.tar", b"")]))
    source = open_imagenet(archives)
    assert source.index().fingerprint() == before.fingerprint()
    assert source.read(source.index().splits["train"].entry(5)) == b"n01443537 2"


def test_order_geometry_and_pixels(tmp_path, images):
    make_archives(tmp_path, images[:1])
    source = open_imagenet(tmp_path)
    assert source.default_order == "shuffled" and source.default_geometry == Geometry(256, 224)
    picture = source.decode(source.read(source.index().splits["train"].entry(0)))
    assert picture.pixels.ndim == 3 and picture.pixels.shape[0] == 3


def test_a_source_travels_to_workers(archives):
    source = open_imagenet(archives)
    entry = source.index().splits["train"].entry(4)
    assert pickle.loads(pickle.dumps(source)).read(entry) == b"n01443537 1"
    assert source.read(entry, 4) == b"n014"


def test_a_relative_folder_is_read_from_elsewhere(archives, monkeypatch, tmp_path):
    monkeypatch.chdir(archives.parent)
    source = open_imagenet(Path("data"))
    entry = source.index().splits["train"].entry(0)
    monkeypatch.chdir("/")
    assert source.read(entry) == b"n01440764 0"


def test_the_manifest_is_that_of_the_official_set():
    official = manifests.load("imagenet")
    assert official["splits"] == {"train": 1_281_167, "val": 50_000}
    assert len(official["synsets"]) == 1000 and list(official["synsets"]) == sorted(official["synsets"])
    assert official["synsets"]["n01440764"] == "tench, Tinca tinca" and list(official["synsets"])[999] == "n15075141"
    md5 = {name: archive["md5"] for name, archive in official["archives"].items()}
    assert md5 == {
        "train": "1d675b47d978889d74fa0da5fadfb00e",
        "val": "29b22e2961454d5413ddabcf34fc5622",
        "devkit": "fa75699e90414af021442c21a62c3abf",
    }
    for split in ("train", "val"):
        assert official["archives"][split]["bytes"] % 10_240 == 0  # tar's record


# The saved index


def forbid_scans(monkeypatch):
    def scan(*_):
        raise AssertionError("scanned")

    monkeypatch.setattr(imagenet_archive, "scan", scan)


def test_archives_are_scanned_once(archives, cache, monkeypatch):
    first = open_imagenet(archives).index()
    assert len(list(cache.iterdir())) == 2
    forbid_scans(monkeypatch)
    again = open_imagenet(archives).index()
    assert again.fingerprint() == first.fingerprint()
    for split in first.splits:
        assert again.splits[split].offsets.tolist() == first.splits[split].offsets.tolist()


@pytest.mark.parametrize("change", ["size", "time", "place"])
def test_a_changed_archive_is_scanned_again(archives, monkeypatch, change):
    open_imagenet(archives).index()
    forbid_scans(monkeypatch)
    if change == "size":
        status = (archives / TRAIN).stat()
        with open(archives / TRAIN, "ab") as file:
            file.write(bytes(10240))
        os.utime(archives / TRAIN, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(archives / VAL, ns=(1, 1))
    else:
        archives = archives.rename(archives.with_name("moved"))
    with pytest.raises(AssertionError, match="scanned"):
        open_imagenet(archives).index()


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-100], lambda raw: b"", lambda raw: raw.replace(b"n0144", b"n0999")]
)
def test_a_damaged_saved_index_is_made_again(archives, cache, damage):
    before = open_imagenet(archives).index().fingerprint()
    for path in cache.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert open_imagenet(archives).index().fingerprint() == before


def test_an_older_format_of_the_saved_index_is_not_used(archives, monkeypatch):
    open_imagenet(archives).index()
    monkeypatch.setattr(saved_index, "FORMAT", saved_index.FORMAT + 1)
    forbid_scans(monkeypatch)
    with pytest.raises(AssertionError, match="scanned"):
        open_imagenet(archives).index()


def test_a_cache_that_cannot_be_written_is_done_without(archives, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    assert len(open_imagenet(archives).index().splits["train"]) == 6


def test_a_saved_index_is_whole_or_not_there(archives, cache, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    open_imagenet(archives).index()
    assert list(cache.iterdir()) == []


def test_an_archive_that_grows_while_it_is_read_is_refused(archives, monkeypatch):
    real = imagenet_archive.plain_members

    def grow(descriptor, archive, *rest):
        if archive.endswith(TRAIN):
            with open(archives / TRAIN, "ab") as file:
                file.write(bytes(512))
        return real(descriptor, archive, *rest)

    monkeypatch.setattr(imagenet_archive, "plain_members", grow)
    line = refused(archives)
    assert "changes while it is read" in line


# Reading after a change


def test_an_archive_that_was_cut_or_grown_is_an_os_error(archives):
    source = open_imagenet(archives)
    train = source.index().splits["train"]
    with open(archives / TRAIN, "ab") as file:
        file.write(bytes(512))
    with pytest.raises(OSError, match="when it was indexed"):
        source.read(train.entry(0))
    os.truncate(archives / TRAIN, 3000)
    with pytest.raises(OSError, match="when it was indexed"):
        source.read(train.entry(5))


def test_an_archive_of_the_same_size_with_other_members_is_an_os_error(archives, few):
    source = open_imagenet(archives)
    train = source.index().splits["train"]
    entry = train.entry(0)
    raw = (archives / TRAIN).read_bytes()
    swapped = [i._replace(file=i.file.replace("_0", "_7")) for i in few]
    make_archives(archives, swapped)
    assert len((archives / TRAIN).read_bytes()) == len(raw)
    with pytest.raises(OSError, match="has changed since it was indexed"):
        source.read(entry)
    assert source.read(train.entry(1)) == b"n01440764 1"


def test_a_vanished_archive_or_file_is_an_os_error(tmp_path, archives, few):
    source = open_imagenet(archives)
    entry = source.index().splits["val"].entry(0)
    (archives / VAL).unlink()
    with pytest.raises(OSError):
        source.read(entry)
    make_tree(tmp_path / "tree", few)
    source = open_imagenet(tmp_path / "tree")
    train = source.index().splits["train"]
    (tmp_path / "tree" / train.files[0]).write_bytes(b"other")
    (tmp_path / "tree" / train.files[1]).unlink()
    with pytest.raises(OSError, match="when it was indexed"):
        source.read(train.entry(0))
    with pytest.raises(OSError):
        source.read(train.entry(1))


# Mistakes


@pytest.mark.parametrize("name", [TRAIN, VAL])
def test_every_cut_of_an_archive_is_reported(tmp_path, archives, name):
    raw = (archives / name).read_bytes()
    content = len(raw.rstrip(b"\0"))
    for size in (*range(1, content, 509), *range(512, content + 512, 512)):  # also where a member ends
        (archives / name).write_bytes(raw[:size])
        line = refused(archives)
        assert "half-downloaded" in line and f"{name} ({size:,} bytes, the official one has " in line
    (archives / name).write_bytes(b"")
    assert "half-downloaded" in refused(archives)


@pytest.mark.parametrize(("keep", "end"), [(512, "1,024"), (1024, "1,024"), (1500, "2,048")])
def test_a_preallocated_download_is_reported(archives, keep, end):
    raw = (archives / VAL).read_bytes()
    (archives / VAL).write_bytes(raw[:keep].ljust(3_000_000, b"\0"))
    assert f"has an end mark at byte {end} of 3,000,000: it is half-downloaded" in refused(archives)


def test_a_synset_that_is_cut_off_inside_a_whole_archive_is_reported(archives):
    inner = tar_bytes([("n01440764_1.JPEG", b"x" * 2000)])[:1500]
    (archives / TRAIN).write_bytes(tar_bytes([("n01440764.tar", inner)]))
    line = refused(archives)
    assert f"n01440764.tar in {archives / TRAIN} is half-downloaded or cut off" in line


def test_swapped_archives_are_reported(archives):
    (archives / TRAIN).rename(archives / "x")
    (archives / VAL).rename(archives / TRAIN)
    assert "holds validation images: is it the validation archive under another name?" in refused(archives)
    (archives / TRAIN).unlink()
    (archives / "x").rename(archives / VAL)
    assert "holds training images: is it the training archive under another name?" in refused(archives)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ([("n00000001.tar", b"")], "holds n00000001.tar, which is none of the 1,000 synsets"),
        ([("readme.txt", b"")], "holds 'readme.txt': it should hold one tar per synset"),
        ([], "is empty"),
        ([("n01440764.tar", b"no tar" * 500)], "n01440764.tar in .* is no tar archive"),
        ([("n01440764.tar", tar_bytes([("a", b""), ("a", b"")]))], "holds n01440764/a 2 times"),
        ([("n01440764.tar", tar_bytes([]))] * 2, "holds n01440764.tar 2 times"),
    ],
)
def test_wrong_members_of_the_training_archive_are_reported(archives, members, line):
    (archives / TRAIN).write_bytes(tar_bytes(members))
    assert re.search(line, refused(archives))


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ([("ILSVRC2012_test_00000001.JPEG", b"")], "which is no validation image"),
        ([("ILSVRC2012_val_00000005.JPEG", b"")], "devkit_t12.tar.gz has no label for ILSVRC2012_val_00000005.JPEG"),
        ([("ILSVRC2012_val_00000001.JPEG", b"")] * 2, "holds ILSVRC2012_val_00000001.JPEG 2 times"),
        ([], "is empty"),
    ],
)
def test_wrong_members_of_the_validation_archive_are_reported(archives, members, line):
    (archives / VAL).write_bytes(tar_bytes(members))
    assert line in refused(archives)


def test_missing_validation_labels_are_reported(archives, tmp_path, few):
    (archives / DEVKIT).unlink()
    assert f"put {DEVKIT}, {LIST} or {TABLE} into {archives}" in refused(archives)
    make_kaggle(tmp_path / "k", few)
    (tmp_path / "k" / TABLE).unlink()
    assert "labels are missing" in refused(tmp_path / "k")


def _devkit(**changed: bytes) -> bytes:
    files = devkit(["n01443537", "n01440764", "n01443537", "n01440764"])
    files.update({f"data/{name.replace('__', '.')}": content for name, content in changed.items()})
    return gzip.compress(tar_bytes([(f"ILSVRC2012_devkit_t12/{name}", content) for name, content in files.items()]))


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        (DEVKIT, b"no archive", "cannot be unpacked"),
        (DEVKIT, _devkit()[:500], "cannot be unpacked"),
        (DEVKIT, gzip.compress(tar_bytes([])), "lacks data/ILSVRC2012_validation_ground_truth.txt"),
        (DEVKIT, gzip.compress(bytes(70 << 20)), "unpacks to far more"),
        (DEVKIT, _devkit(meta__mat=b"x"), "not the devkit's meta.mat"),
        (DEVKIT, _devkit(ILSVRC2012_validation_ground_truth__txt=b"1\n9\n"), "line 2 is '9', not a class"),
        (DEVKIT, _devkit(ILSVRC2012_validation_ground_truth__txt=b"1\n-1\n"), "line 2 is '-1', not a class"),
        (DEVKIT, _devkit(ILSVRC2012_validation_ground_truth__txt=b"1\n3\n"), "the synset 'n00001740', which is none"),
        (
            DEVKIT,
            _devkit(ILSVRC2012_validation_ground_truth__txt=b"1\n2\n"),
            "has no label for ILSVRC2012_val_00000003",
        ),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", b"1\n", "meta.mat is missing"),
        (LIST, b"n01440764\nn00000009\n", "ILSVRC2012_val_00000002.JPEG the synset 'n00000009', which is none"),
        (LIST, b"n01440764\n" * 3, "has no label for ILSVRC2012_val_00000004.JPEG, one of 4 images"),
        (LIST, b"\xff\xfe" * 9, "which is none of the 1,000"),
        (TABLE, b"a,b\n", "does not begin with the line ImageId,PredictionString"),
        (TABLE, b"", "does not begin with the line"),
        (TABLE, b"ImageId,PredictionString\nx\n", "row 2 is not an image and its synset"),
        (TABLE, b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2\n", "has no label for"),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else None,  # gzip writes the time into its bytes
)
def test_wrong_labels_are_reported(archives, file, content, line):
    (archives / DEVKIT).unlink()
    (archives / file).parent.mkdir(parents=True, exist_ok=True)
    (archives / file).write_bytes(content)
    assert line in refused(archives)


def test_unknown_and_loose_things_in_trees_are_reported(tmp_path, few):
    make_tree(tmp_path, few)
    (tmp_path / "train/notes.txt").touch()
    assert len(open_imagenet(tmp_path).index().splits["train"]) == 6
    (tmp_path / "train/n00000001").mkdir()
    assert "train/n00000001 is named after none of the 1,000 synsets" in refused(tmp_path)
    (tmp_path / "train/n00000001").rmdir()
    (tmp_path / "val/ILSVRC2012_val_00000009.JPEG").touch()
    assert "holds 1 images beside its class folders (ILSVRC2012_val_00000009.JPEG, ...)" in refused(tmp_path)


def test_a_folder_without_imagenet_is_reported(tmp_path):
    for make, line in (
        (lambda: None, "holds no ImageNet: --data-dir takes the folder that holds ILSVRC2012_img_train.tar"),
        (lambda: (tmp_path / "train").mkdir(), "train holds no images"),
        (lambda: (tmp_path / "train/n01440764").mkdir(), "train holds no images"),
        (lambda: ((tmp_path / "train/n01440764").rmdir(), (tmp_path / "val").mkdir()), "train holds no images"),
        (lambda: (tmp_path / "train").rmdir(), "val holds no images"),
        (lambda: (tmp_path / "val/x.JPEG").touch(), "val/x.JPEG is no validation image"),
    ):
        make()
        assert line in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is a file" in refused(tmp_path / "file")


# meta.mat


@pytest.mark.parametrize("compressed", [True, False])
def test_the_devkits_table_is_read(compressed):
    raw = devkit(["n01443537", "n01440764"], compressed)["data/meta.mat"]
    assert read_synsets(raw, "meta.mat") == {1: "n01443537", 2: "n01440764", 3: "n00001740"}


def test_damage_to_the_table_is_reported_never_a_crash():
    raw = bytearray(devkit(["n01443537", "n01440764"], False)["data/meta.mat"])
    rng = np.random.default_rng(1)
    for _ in range(3000):
        hurt = raw.copy()
        for position in rng.integers(0, len(raw), 3):
            hurt[position] = rng.integers(0, 256)
        hurt = hurt[: rng.integers(1, 2 * len(raw))]
        try:
            read_synsets(bytes(hurt), "meta.mat")
        except PipelineError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("element", [(14, b""), (15, zlib.compress(b"")), (15, b""), (14, bytes(16)), (3, b"")])
def test_a_table_that_ends_early_is_reported(element):
    kind, data = element
    raw = bytes(126) + b"IM" + kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    with pytest.raises(PipelineError, match="not the devkit's meta.mat, or a damaged one: it "):
        read_synsets(raw, "meta.mat")


def test_a_table_that_unpacks_without_end_is_refused():
    bomb = zlib.compress(bytes(65 << 20))
    raw = bytes(126) + b"IM" + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    with pytest.raises(PipelineError, match="unpacks to far more"):
        read_synsets(raw, "meta.mat")


# Speed


def test_forty_thousand_images_are_listed_in_a_moment(tmp_path):
    official = manifest.load()
    synsets = list(official.synsets)[:40]
    path = tmp_path / TRAIN
    path.write_bytes(
        tar_bytes([(f"{s}.tar", tar_bytes([(f"{s}_{n}.JPEG", b"") for n in range(1000)])) for s in synsets])
    )
    started = time.process_time()
    assert len(list_train(path, official.archives["train"], official.synsets).names) == 40_000
    assert time.process_time() - started < 4  # seconds of processor time, as other processes may run
    started = time.process_time()
    list_train(path, official.archives["train"], official.synsets)
    assert time.process_time() - started < 0.5


def test_content_is_never_read_while_indexing(archives, monkeypatch):
    sizes = []
    real, cached = os.pread, os.preadv

    def pread(descriptor, size, offset):
        sizes.append(size)
        return real(descriptor, size, offset)

    def preadv(descriptor, buffers, offset, flags):
        read = cached(descriptor, buffers, offset, flags)  # fails where the file system cannot say what is in memory
        sizes.append(len(buffers[0]))
        return read

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "preadv", preadv)
    open_imagenet(archives)
    imagenet.list_train(archives / TRAIN, manifest.load().archives["train"], manifest.load().synsets)
    ends = 3  # of the outer tar and two inner ones: their padding is read
    assert sizes.count(512) == 2 + 6 + ends and len(sizes) == 2 + 6 + 2 * ends
