"""Whatever a tar's headers say, a build writes only inside its output, and refuses in one line."""

import io
import os
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import RankDataset
from pipeline.errors import PipelineError
from pipeline.sources.webdataset.scan import scan_shard

HOSTILE = [
    "../../evil",
    "/tmp/evil",
    "/etc/passwd",
    "a/../../evil",
    "../../",
    "C:\\evil",
    "a\nb",
    "\x1b[31m",
    "\udcff",
    "é",
]
HOSTILE.append("x" * 200)


def image(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path, members, form=tarfile.PAX_FORMAT):
    """Writes a tar of members (name, content, type, target of a link)."""
    with tarfile.open(path, "w", format=form, errors="surrogateescape") as archive:
        for name, content, kind, link in members:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, link
            member.devmajor = member.devminor = 1
            archive.addfile(member, io.BytesIO(content))


def plain(name, content):
    return name, content, tarfile.REGTYPE, ""


def tree(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if ".build" not in path.parts}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hostile_names_stay_names(tmp_path, build, form):
    (tmp_path / "data").mkdir()
    members = []
    for number, name in enumerate(HOSTILE):
        members += [plain(f"{name}k.png", image(number)), plain(f"{name}k.cls", b"%d" % (number % 3))]
    tar(tmp_path / "data" / "train-0.tar", members, form)
    before = tree(tmp_path / "data")
    here = set(os.listdir())
    result = build("--dataset", "webdataset", "--data-dir", tmp_path / "data", "--out", tmp_path / "out", "--ranks", 2)
    assert (result.status, result.err) == (0, "")
    assert set(os.listdir(tmp_path)) == {"data", "out"} and set(os.listdir()) == here
    assert tree(tmp_path / "data") == before
    with tarfile.open(tmp_path / "out" / "webdataset-rank2" / "webdataset-rank2-train-000000.tar") as written:
        keys = [f"train-{number:08d}.{kind}" for number in range(len(HOSTILE)) for kind in ("png", "cls")]
        assert [member.name for member in written] == keys and all(member.isreg() for member in written)
    assert RankDataset(tmp_path / "out", "rank2").targets == [number % 3 for number in range(len(HOSTILE))]


def test_keys_with_dots_are_split_at_the_first_one_of_the_files_name(tmp_path):
    path = tmp_path / "train-0.tar"
    tar(
        path, [plain("v1.2/a.b/k.png", b"i"), plain("v1.2/a.b/k.cls", b"5"), plain("m.png", b"i"), plain("m.cls", b"1")]
    )
    samples = scan_shard(path, None)
    assert (samples.keys, samples.labels.tolist()) == (["v1.2/a.b/k", "m"], [5, 1])
    tar(path, [plain("k.left.png", b"i"), plain("k.cls", b"5")])
    with pytest.raises(PipelineError, match="'k' has no image"):  # as webdataset: the extension is left.png
        scan_shard(path, None)


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"M", b"V", b"Z"]


@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices_are_refused_and_never_followed(tmp_path, refused, kind):
    (tmp_path / "secret").write_bytes(image(0))
    (tmp_path / "data").mkdir()
    members = [("k.png", b"", kind, "../secret"), plain("k.cls", b"1")]
    tar(tmp_path / "data" / "train-0.tar", members, tarfile.USTAR_FORMAT)
    arguments = ("--dataset", "webdataset", "--data-dir", tmp_path / "data", "--out", tmp_path / "out", "--ranks", 2)
    line = refused(*arguments, status=1)
    assert "'k.png' is a" in line and "only plain files" in line
    assert not (tmp_path / "out").exists()


part = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30) | st.sampled_from(
    HOSTILE
)
member = st.tuples(
    st.builds(lambda key, kind: f"{key}.{kind}", part, st.sampled_from(["png", "cls", "jpg", "json", "", "x.png"])),
    st.sampled_from([b"", b"1", b"-1", b"9" * 50, b"{}", b'{"label": 1}', b"\xff", image(0)]),
    st.sampled_from([tarfile.REGTYPE] * 8 + [tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE, *KINDS]),
    st.just("/etc/passwd"),
)


@given(members=st.lists(member, max_size=8), form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_any_tar_gives_its_samples_or_one_line(tmp_path, members, form):
    path = tmp_path / "train-0.tar"
    tar(path, members, form)
    for label_key in (None, "label"):
        try:
            samples = scan_shard(path, label_key)
        except PipelineError as error:
            assert str(error).startswith(str(path))
            continue
        regular = {}
        with tarfile.open(path, errors="surrogateescape") as reference:
            for member in reference:
                regular[member.offset_data] = member
        for offset, size in zip(samples.offsets.tolist(), samples.sizes.tolist(), strict=True):
            assert regular[offset].isreg() and regular[offset].size == size
