"""The WebDataset source lists every sample once, in the shards' order, reads it in place, or fails with one line."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.tars.members import Member, read_member, scan
from pipeline.sources.webdataset import scan as webdataset_scan
from pipeline.sources.webdataset.source import WebDataset
from tests.conftest import examples
from tests.unit.sources.make_imagenet import photographs, tar_bytes


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "rank-shards" / "webdataset"


def sample(key: str, label: object, content: bytes = b"image", extension: str = "jpg") -> list[tuple[str, bytes]]:
    return [(f"{key}.{extension}", content), (f"{key}.cls", str(label).encode())]


def shard(path: Path, *members: list[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes([member for group in members for member in group], form))


def refused(root: Path, label_key: str | None = None, classes: Path | None = None) -> str:
    with pytest.raises(PipelineError) as caught:
        WebDataset(root, label_key, classes).index()
    line = str(caught.value)
    assert "\n" not in line and caught.value.status == 1
    return line


# What is listed


def test_shards_of_the_reference_writer_are_read_as_written(tmp_path, shared):
    images = photographs(shared / "data" / "imagenet-samples", synsets=6)
    train = [image for image in images if image.split == "train"]
    labels = sorted({image.synset for image in images})
    for number in range(2):
        with webdataset.TarWriter(str(tmp_path / f"set-train-{number:06d}.tar")) as writer:
            for image in train[number::2]:
                label = labels.index(image.synset)
                key = image.file.removesuffix(".JPEG")
                writer.write({"__key__": key, "jpg": image.content, "cls": label, "json": {"l": label}})
    for source in (WebDataset(tmp_path), WebDataset(tmp_path, "l")):
        index = source.index()
        listed = index.splits["train"]
        expected = train[0::2] + train[1::2]
        assert listed.names == [image.file.removesuffix(".JPEG") for image in expected]
        assert listed.labels.tolist() == [labels.index(image.synset) for image in expected]
        assert index.classes == ["0", "1", "2", "3", "4", "5"]
        assert [source.read(listed.entry(n)) for n in range(len(listed))] == [image.content for image in expected]
        assert source.decode(source.read(listed.entry(0))).pixels.shape[0] == 3
        assert (source.default_order, source.default_geometry, index.shape) == ("source", NATIVE, None)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["b.tar", "a.tar"], {"train": ["a.tar", "b.tar"]}),
        (["x-val-0.tar", "x-train-0.tar"], {"train": ["x-train-0.tar"], "val": ["x-val-0.tar"]}),
        (["train_0.tar", "test0.tar"], {"train": ["train_0.tar"], "test": ["test0.tar"]}),
        (["imagenet1k-validation-00.tar"], {"validation": ["imagenet1k-validation-00.tar"]}),
        (["trainer-0.tar", "latest.tar"], {"train": ["latest.tar", "trainer-0.tar"]}),
        (
            ["val/a.tar", "train/b.tar", "test/0.tar"],
            {"train": ["train/b.tar"], "val": ["val/a.tar"], "test": ["test/0.tar"]},
        ),
        (["val/a-train-1.tar"], {"val": ["val/a-train-1.tar"]}),
        (["testing-0.tar", "training-0.tar"], {"train": ["training-0.tar"], "test": ["testing-0.tar"]}),
        (["Test-0.tar", "Train-0.tar"], {"train": ["Train-0.tar"], "test": ["Test-0.tar"]}),
        (["x1k_dev.0.tar", "x1k_train2017.tar"], {"train": ["x1k_train2017.tar"], "val": ["x1k_dev.0.tar"]}),
        (["Valid/a.tar", "training/b.tar"], {"train": ["training/b.tar"], "val": ["Valid/a.tar"]}),
        (
            ["seg_train/seg_train/a.tar", "seg_test/b.tar"],
            {"train": ["seg_train/seg_train/a.tar"], "test": ["seg_test/b.tar"]},
        ),
    ],
)
def test_splits_come_from_folders_or_names(tmp_path, names, splits):
    for number, name in enumerate(names):
        shard(tmp_path / name, sample(f"k{number}", 0))
    index = WebDataset(tmp_path).index()
    assert {split: listed.files for split, listed in index.splits.items()} == splits
    assert list(index.splits) == list(splits)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], "holds no shards"),
        (["x-train-0.tar", "y.tar"], "y.tar names no split, but x-train-0.tar does"),
        (["x-train-val.tar"], "names the splits train and val"),
        (["train/a.tar", "b.tar"], "holds shards itself (b.tar) and in train/"),
        (["train/a.tar", "more/b.tar"], "more holds shards but does not name one split"),
        (["val/a.tar", "valid/b.tar"], "two folders for the split val, val and valid"),
        (["x-training-eval.tar"], "names the splits test and train"),
        (["cifar10-rank5/a.tar"], "holds no shards, but cifar10-rank5/ does: give --data-dir that folder"),
        (["a.tar", "b.tar.gz"], "b.tar.gz is compressed"),
        (["train/a.tgz"], "a.tgz is compressed"),
    ],
)
def test_unclear_folders_are_reported(tmp_path, names, line):
    for name in names:
        shard(tmp_path / name, sample("k", 0))
    assert line in refused(tmp_path)


def test_no_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    assert "is a file" in refused(tmp_path / "file")
    assert "does not exist" in refused(tmp_path / "none")


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "png", "webp", "JPG"])
def test_image_members(tmp_path, extension):
    shard(tmp_path / "a.tar", sample("k", 3, b"abc", extension))
    source = WebDataset(tmp_path)
    entry = source.index().splits["train"].entry(0)
    assert (entry.name, entry.label, source.read(entry), source.read(entry, 2)) == ("k", 3, b"abc", b"ab")


def test_members_beside_the_samples_are_left_alone(tmp_path):
    extra = [("README", b""), ("__meta__.json", b"{}"), (".hidden.jpg", b""), ("d/.x.jpg", b"")]
    shard(tmp_path / "a.tar", extra, [("a/b.c/k.seg.png", b"mask"), *sample("a/b.c/k", 1)], extra)
    assert WebDataset(tmp_path).index().splits["train"].names == ["a/b.c/k"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("key", ["d/" * 80 + "long", "long" * 60, "ä" * 70, "ümlaut", "./plain", "sp ace\nline"])
def test_long_and_foreign_names_are_whole(tmp_path, form, key):
    shard(tmp_path / "a.tar", sample("first", 0), sample(key, 2, b"content"), form=form)
    source = WebDataset(tmp_path)
    index = source.index().splits["train"]
    assert index.names == ["first", key.removeprefix("./")]
    assert source.read(index.entry(1)) == b"content"


def test_names_that_are_no_utf8_are_kept(tmp_path):
    raw = tar_bytes(sample("k\udcff", 1))
    (tmp_path / "a.tar").write_bytes(raw)
    index = WebDataset(tmp_path).index()
    assert index.splits["train"].names == ["k\udcff"] and len(index.fingerprint()) == 64
    again = WebDataset(tmp_path).index()
    assert again.splits["train"].names == ["k\udcff"]


def test_keys_that_repeat_over_shards_carry_the_shards_name(tmp_path):
    for number in range(2):
        shard(tmp_path / f"x-train-{number}.tar", sample("0", number, b"%d" % number), sample(f"only{number}", 0))
    shard(tmp_path / "x-val-0.tar", sample("0", 0))
    source = WebDataset(tmp_path)
    index = source.index()
    train = index.splits["train"]
    assert train.names == ["x-train-0/0", "x-train-0/only0", "x-train-1/0", "x-train-1/only1"]
    assert index.splits["val"].names == ["0"]
    assert "train: keys repeat over shards (0, ...)" in index.note and "val" not in index.note
    assert [source.read(train.entry(number)) for number in (0, 2)] == [b"0", b"1"]


def test_class_names(tmp_path):
    shard(tmp_path / "data/a.tar", sample("a", 1), sample("b", 0))
    (tmp_path / "data/classnames.txt").write_text("zebra\ncat\nnever seen\n")
    (tmp_path / "other.txt").write_bytes(b"\xef\xbb\xbfx\r\ny\r\n")
    assert WebDataset(tmp_path / "data").index().classes == ["zebra", "cat", "never seen"]
    index = WebDataset(tmp_path / "data", classes=tmp_path / "other.txt").index()
    assert index.classes == ["x", "y"] and index.splits["train"].labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "holds no class names"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"\xff\xff", "is no UTF-8 text"),
        (b"only one\n", "a.tar: sample 'k' has the label 1, but"),
    ],
)
def test_wrong_class_names_are_reported(tmp_path, content, line):
    shard(tmp_path / "a.tar", sample("k", 1))
    (tmp_path / "names").write_bytes(content)
    assert line in refused(tmp_path, classes=tmp_path / "names")
    (tmp_path / "names").unlink()
    assert "names does not exist" in refused(tmp_path, classes=tmp_path / "names")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("sundial\nsunglasses\nsunglasses\n", ["sundial", "sunglasses (1)", "sunglasses (2)"]),
        ("a\na\na (1)\n", ["a (0)", "a (1)", "a (1) (2)"]),
    ],
)
def test_equal_class_names_carry_their_label(tmp_path, names, classes):
    shard(tmp_path / "a.tar", sample("k", 1))
    (tmp_path / "classnames.txt").write_text(names)
    index = WebDataset(tmp_path).index()
    assert index.classes == classes and "several times" in index.readings[0]


def test_shards_that_are_not_read_are_named(tmp_path):
    shard(tmp_path / "a.tar", sample("k", 0))
    shard(tmp_path / "more/b.tar", sample("l", 0))
    shard(tmp_path / ".c.tar", sample("m", 0))
    left_out = "; ".join(WebDataset(tmp_path).index().left_out)
    assert "more" in left_out and "hidden shards (leading dot), left out: 1" in left_out


def test_files_of_systems_in_shards_are_no_samples(tmp_path):
    extra = [("d/Thumbs.db", b"x"), ("__MACOSX/d/x.jpg", b"x"), ("desktop.ini", b"x")]
    shard(tmp_path / "a.tar", extra, sample("d/k", 1))
    (tmp_path / "lost+found").mkdir()
    shard(tmp_path / "@eaDir/a.tar", sample("l", 0))
    assert WebDataset(tmp_path).index().splits["train"].names == ["d/k"]


# Mistakes in samples


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ([("k.jpg", b"")], "has no label (.cls)"),
        ([("k.jpg", b""), ("k.json", b'{"y": 1}')], "has no label (.cls); --label-key names the field"),
        ([("k.cls", b"1"), ("k.txt", b"")], "has no image (jpg, jpeg, png, webp), only .cls, .txt"),
        ([("k.jpg", b""), ("k.png", b""), ("k.cls", b"1")], "has several images: .jpg, .png"),
        ([("k.jpg", b""), ("k.jpg", b""), ("k.cls", b"1")], "has two members .jpg"),
        (sample("k", "cat"), "has the label 'cat', not a whole number"),
        (sample("k", "1.0"), "has the label '1.0', not a whole number"),
        (sample("k", "1_0"), "not a whole number"),
        (sample("k", "٣"), "not a whole number"),
        (sample("k", ""), "has the label '', not a whole number"),
        (sample("k", "-1"), "has the label -1: labels are 0, 1, 2, ..."),
        (sample("k", 2**31), "has the label 2147483648: labels are"),
        (sample("k", "9" * 60), "has the label of more than 20 digits"),
        (sample("k", "9" * 65), "has a .cls of 65 bytes: no label"),
        (sample("k", 100_000), "has the label 100000: so many classes must be named, by --classes"),
        ([*sample("k", 1), *sample("l", 1), *sample("k", 1)], "occurs twice, or its members are not side by side"),
        ([("k.jpg", b""), ("l.jpg", b""), ("k.cls", b"1"), ("l.cls", b"1")], "must be side by side (tar --sort=name)"),
        (sample("k.05", 1), ".05.cls, .05.jpg; the key of a sample ends at the first dot"),
    ],
)
def test_wrong_samples_are_reported_with_shard_and_key(tmp_path, members, line):
    shard(tmp_path / "train/good.tar", sample("good", 0))
    shard(tmp_path / "train/wrong.tar", sample("before", 0), members, sample("z", 0))
    message = refused(tmp_path)
    assert line in message and message.startswith(f"{tmp_path / 'train/wrong.tar'}: sample 'k' ")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "has no .json, in which --label-key y could be"),
        (b"{", "has a .json that is not valid"),
        (b"[" * 100_000, "has a .json that is not valid"),
        (b'{"y": ' + b"9" * 5000 + b"}", "has a .json that is not valid"),
        (b"\xff", "has a .json that is not valid"),
        (b"[1]", "has a .json that is not an object"),
        (b'{"x": 1, "a": 2}', "has no 'y' in its .json, which has 'a', 'x'"),
        (b'{"y": true}', "has the label True in its .json, not a whole number"),
        (b'{"y": null}', "has the label None"),
        (b'{"y": 1.0}', "has the label 1.0"),
        (b'{"y": "1"}', "has the label '1'"),
        (b'{"y": [1]}', "has the label of type list"),
        (b'{"y": -3}', "has the label -3: labels are"),
        (b'{"y": ' + b"9" * 400 + b"}", "has the label of more than 20 digits"),
    ],
)
def test_wrong_json_labels_are_reported(tmp_path, content, line):
    members = [("k.jpg", b""), ("k.cls", b"5")]
    if content is not None:
        members.append(("k.json", content))
    shard(tmp_path / "a.tar", members)
    message = refused(tmp_path, "y")
    assert line in message and message.startswith(f"{tmp_path / 'a.tar'}: sample 'k' ")


def test_shards_without_samples_are_reported(tmp_path):
    shard(tmp_path / "a.tar")
    assert "its 1 shards hold no samples" in refused(tmp_path)
    shard(tmp_path / "b.tar", sample("k", 0))
    assert WebDataset(tmp_path).index().splits["train"].entry(0).file == "b.tar"


# Hostile and damaged tars


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, more: dict[str, str] | None = None) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, "target"
    member.pax_headers = more or {}
    return member.tobuf(tarfile.PAX_FORMAT if more else tarfile.GNU_FORMAT)


def resized(field: bytes) -> bytes:
    """A header whose size field is given, with the right checksum."""
    raw = bytearray(info("k.jpg"))
    raw[124:136] = field
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


END = bytes(10240)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (info("k.jpg", 0, tarfile.SYMTYPE), "'k.jpg' is a symbolic link"),
        (info("k.jpg", 0, tarfile.LNKTYPE), "'k.jpg' is a hard link; only plain files can be read in place, so"),
        (info("k.jpg", 0, tarfile.CHRTYPE), "'k.jpg' is a device"),
        (info("k.jpg", 0, tarfile.FIFOTYPE), "'k.jpg' is a pipe"),
        (info("k.jpg", 0, b"S"), "'k.jpg' is a sparse file"),
        (info("k.jpg", 0, b"V"), "'k.jpg' is a member of type b'V'"),
        (info("k.jpg", 3, more={"GNU.sparse.major": "1"}), "holds a sparse file"),
        (resized(b"\xff" * 12), "'k.jpg' has a negative size"),
        (resized(b"-0000000512\0"), "'k.jpg' has a negative size"),
        (resized(b"\x80" + b"\x7f" * 11), "half-downloaded or cut off: 'k.jpg' ends at byte"),
        (resized(b"1_000000000\0"), "is no tar archive"),
        (resized(b"00000000099\0"), "is no tar archive"),
        (info("k.jpg", 0, more={"size": "-5"}), "has the size '-5'"),
        (info("k.jpg", 0, more={"size": "9" * 30}), "has the size '999999999999999999999999999999'"),
        (info("k.jpg", 0, more={"size": "512"}) + bytes(512), "'k.jpg' has two sizes, 0 and 512 bytes"),
        (info("k.jpg", 0, more={"path": "a\0b"}), "has a damaged pax header"),
        (info("x", 4, b"x") + b"9999".ljust(512, b"\0"), "has a damaged pax header"),
        (
            info("x", 6, b"x") + b"6 a=b\n".ljust(512, b"\0") + info("x", 5, b"x") + b"0 a=\n".ljust(512, b"\0"),
            "damaged pax",
        ),
        (info("x", 9, b"g") + b"8 path=a\n".ljust(512, b"\0"), "damaged pax header"),
        (info("x", 10, b"g") + b"10 path=a\n".ljust(512, b"\0"), "gives all its members one path"),
        (info("x", 2 << 20, b"L"), "has a name of 2,097,152 bytes"),
        (b"\x01" * 512, "is no tar archive"),
        *((pack(os.urandom(1024)), "is compressed, whatever") for pack in (gzip.compress, bz2.compress, lzma.compress)),
        (
            tar_bytes([("k.jpg", b"x" * 512)])[:1024] + b"y" * 512,
            "is damaged at byte 1,024",
        ),
    ],
)
def test_hostile_and_damaged_tars_are_refused_in_one_line(tmp_path, raw, line):
    (tmp_path / "a.tar").write_bytes(raw + END)
    message = refused(tmp_path)
    assert line in message and str(tmp_path / "a.tar") in message


def test_every_cut_of_a_shard_is_reported(tmp_path):
    raw = tar_bytes([*sample("k", 1), *sample("l" * 150, 2)], tarfile.PAX_FORMAT)
    last = len(raw.rstrip(b"\0"))
    for size in (0, *range(1, last, 100), *range(512, last + 512, 512)):
        (tmp_path / "a.tar").write_bytes(raw[:size])
        assert "half-downloaded or cut off" in refused(tmp_path)


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
@pytest.mark.parametrize("blocks", [1, 20, 64, 126, 2048, 4096, 10240])
def test_every_blocking_factor_of_tar_is_read(tmp_path, form, blocks):
    """GNU tar fills its last record with zeros: 5 MB of them with ``-b 10240``. webdataset reads such shards, too."""
    members = dict(member for number in range(3) for member in sample(f"k{number}", number))
    folder, path = tmp_path / "in", tmp_path / "shards" / "a.tar"
    for place in (folder, path.parent):
        place.mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    subprocess.run(["tar", "-b", str(blocks), f"--format={form}", "-cf", path, "-C", folder, *members], check=True)
    assert path.stat().st_size % (512 * blocks) == 0
    assert len(WebDataset(path.parent).index().splits["train"]) == 3
    assert len(list(webdataset.WebDataset(str(path), shardshuffle=False))) == 3


@pytest.mark.parametrize("size", [1 << 20, 5 << 20, 3_000_320])
def test_a_preallocated_download_is_refused(tmp_path, size):
    """The whole size is there, and zeros follow the bytes that have arrived, also where a record could end."""
    content = np.random.default_rng(0).bytes(3_000)
    raw = tar_bytes([member for number in range(3) for member in sample(f"k{number}", number, content)])
    whole = len(raw.rstrip(b"\0"))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        ends = {member.offset_data + -(-member.size // 512) * 512 for member in archive}
    for arrived in range(0, whole, 512):
        if arrived not in ends or size % (1 << 20):
            (tmp_path / "a.tar").write_bytes(raw[:arrived].ljust(size, b"\0"))
            assert "half-downloaded" in refused(tmp_path)


@pytest.mark.parametrize("padding", [1 << 20, 100 * 512])
def test_what_follows_the_padding_is_noticed(tmp_path, padding):
    (tmp_path / "a.tar").write_bytes(tar_bytes(sample("k", 1)).ljust(padding, b"\0") + tar_bytes(sample("l", 1)))
    assert "or several archives in one file" in refused(tmp_path)


def test_archives_joined_in_one_file_are_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes(sample("k", 1)) + tar_bytes(sample("l", 1)))
    assert "or several archives in one file" in refused(tmp_path)


def test_a_damaged_header_never_goes_unseen(tmp_path):
    raw = bytearray(tar_bytes(sample("k", 1)))
    path = tmp_path / "a.tar"
    for position in range(0, 512, 3):
        hurt = raw.copy()
        hurt[position] ^= 0x55
        path.write_bytes(hurt)
        os.utime(path, ns=(position, position))
        refused(tmp_path)


names = st.text("ab./é\udc80 ", min_size=1, max_size=130).filter(
    lambda name: not name.startswith("./") and not name.endswith("/") and "//" not in name
)


@examples(60)
@given(
    files=st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=6),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    folder=st.booleans(),
)
def test_the_scan_agrees_with_tarfile(tmp_path, files, form, folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in files:
            if folder:
                info = tarfile.TarInfo("folder/")
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # pax writes a header for fractions
            tar.addfile(info, io.BytesIO(content))
    path = tmp_path / "x.tar"
    path.write_bytes(buffer.getvalue())
    with tarfile.open(path) as tar:
        expected = [Member(member.name, member.offset_data, member.size) for member in tar if member.isreg()]
    with open(path, "rb") as file:
        assert list(scan(file.fileno(), "x")) == expected
        assert [read_member(str(path), m.offset, m.size, b"") for m in expected] == [c for _, c in files]


# The saved index, and reading after a change


def test_shards_are_scanned_once(tmp_path, cache, monkeypatch):
    shard(tmp_path / "x-train-0.tar", sample("a", 1), sample("b", 2))
    shard(tmp_path / "x-val-0.tar", sample("a", 0))
    first = WebDataset(tmp_path).index()
    assert len(list(cache.iterdir())) == 1

    def fail(*_):
        raise AssertionError("scanned")

    monkeypatch.setattr(webdataset_scan, "scan", fail)
    again = WebDataset(tmp_path).index()
    assert again.fingerprint() == first.fingerprint()
    assert again.splits["val"].entry(0) == first.splits["val"].entry(0)
    with pytest.raises(AssertionError):
        WebDataset(tmp_path, "y").index()
    shard(tmp_path / "x-train-1.tar", sample("c", 1))
    with pytest.raises(AssertionError):
        WebDataset(tmp_path).index()


def test_the_same_content_elsewhere_has_the_same_fingerprint(tmp_path):
    for folder in ("one", "two"):
        shard(tmp_path / folder / "a.tar", sample("a", 1))
    shard(tmp_path / "three/a.tar", sample("a", 2))
    one, two, three = (WebDataset(tmp_path / folder).index().fingerprint() for folder in ("one", "two", "three"))
    assert one == two != three


def test_a_changed_shard_is_an_os_error(tmp_path):
    shard(tmp_path / "a.tar", sample("a", 1, b"one"), sample("b", 1, b"two"), sample("c", 1, b"new"))
    source = WebDataset(tmp_path)
    train = source.index().splits["train"]
    shard(tmp_path / "a.tar", sample("b", 1, b"two"), sample("a", 1, b"one"), sample("c", 1, b"longer"))
    for number in range(3):
        with pytest.raises(OSError, match="has changed since it was indexed"):
            source.read(train.entry(number))
    os.truncate(tmp_path / "a.tar", 600)
    with pytest.raises(OSError, match="shorter than when it was indexed"):
        source.read(train.entry(1))
    (tmp_path / "a.tar").unlink()
    with pytest.raises(OSError):
        WebDataset(tmp_path).read(train.entry(1))


def test_a_source_travels_to_workers(tmp_path):
    shard(tmp_path / "a.tar", sample("a", 1, b"one"))
    source = WebDataset(tmp_path, classes=None)
    entry = source.index().splits["train"].entry(0)
    assert pickle.loads(pickle.dumps(source)).read(entry) == b"one"


def test_twenty_thousand_samples_are_listed_in_a_moment(tmp_path):
    for number in range(4):
        shard(tmp_path / f"{number}.tar", *(sample(f"{number}-{n:06d}", n % 10, b"x" * 600) for n in range(5000)))
    started = time.process_time()
    index = WebDataset(tmp_path).index()
    assert time.process_time() - started < 4
    assert len(index.splits["train"]) == 20_000
    assert np.bincount(index.splits["train"].labels).tolist() == [2000] * 10
    assert json.dumps(index.classes) == json.dumps([str(n) for n in range(10)])
