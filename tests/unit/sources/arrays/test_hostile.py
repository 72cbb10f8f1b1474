"""Hostile .npy and .npz files end in one line, in bounded memory and disk space. Nothing is unpickled."""

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.sources import open_source
from tests.unit.sources.arrays.make import random_images, random_labels, refused, save


def npy(text: str, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    """Returns a .npy file with any header."""
    head = text.encode("utf-8", "surrogatepass")
    size = len(head) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + head + data


def header(descr: object = "|u1", shape: object = (2, 4, 4, 3), fortran: object = False) -> str:
    return repr({"descr": descr, "fortran_order": fortran, "shape": shape})


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "no .npy file"),
        (b"\x93NUMPY", "its header is damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(50), "its header is damaged"),
        (npy(header(), length=60_000), "its header is damaged"),
        (npy(header(), version=2, length=1 << 31), "its header is damaged"),
        (npy("(" * 9000), "its header is damaged"),
        (npy("[" * 200 + "]" * 200), "its header is damaged"),
        (npy("__import__('os').system('true')"), "its header is damaged"),
        (npy("{'descr': '|u1'}"), "its header is damaged"),
        (npy(header(shape=(2, -4, 4, 3))), "its header is damaged"),
        (npy(header(shape=(True, 4, 4, 3))), "its header is damaged"),
        (npy(header(shape=[2, 4])), "its header is damaged"),
        (npy(header(shape=(1,) * 40)), "its header is damaged"),
        (npy(header(fortran=1)), "its header is damaged"),
        (npy(header("|u3")), "its header is damaged"),
        (npy(header("|O")), "pickles"),
        (npy(header([("a", "|u1")])), "records"),
        (npy(header("S999999999")), "not numbers"),
        (npy(header("|V8")), "cut off"),
        (npy(header(shape=(10**15, 4, 4, 3))), "is cut off or half-downloaded"),
        (npy(header(shape=(2**61, 2**61, 2**61, 3))), "is cut off or half-downloaded"),
        (npy(header(), bytes(97)), "is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_headers(tmp_path, content, line):
    save(tmp_path, {"labels": random_labels(2)})
    (tmp_path / "images.npy").write_bytes(content)
    assert line in refused(tmp_path)


@given(data=st.data(), form=st.sampled_from(["npy", "npz", "compressed"]))
def test_any_damage_gives_images_or_one_line(tmp_path_factory, data, form):
    root = tmp_path_factory.mktemp("files")
    arrays = {"images": random_images(3, 4), "labels": random_labels(3)}
    if form == "npy":
        path = save(root, arrays) / data.draw(st.sampled_from(["images.npy", "labels.npy"]))
    else:
        path = root / "a.npz"
        (np.savez if form == "npz" else np.savez_compressed)(path, **arrays)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        source = open_source("arrays", root)
        for listed in source.index().splits.values():
            for number in range(len(listed)):
                source.decode(source.read(listed.entry(number)))
    except PipelineError as error:
        assert "\n" not in str(error)


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return path


def test_members_with_hostile_names_are_never_written(tmp_path, cache):
    good = {"images.npy": array_bytes(random_images(2)), "labels.npy": array_bytes(random_labels(2))}
    evil = dict.fromkeys(
        ("../../evil.npy", "/tmp/evil-of-a-test.npy", "a/b.npy", ".hidden.npy", "x\ny.npy", "a\\b.npy"), b"x"
    )
    path = archive(tmp_path / "a.npz", good | evil)
    index = open_source("arrays", path).index()
    assert len(index.splits["train"]) == 2
    (folder,) = (entry for entry in cache.iterdir() if entry.is_dir())
    assert {entry.name for entry in folder.iterdir()} == {"images.npy", "labels.npy"}
    assert not os.path.exists("/tmp/evil-of-a-test.npy") and not list(cache.parent.rglob("evil*"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_two_members_of_one_name_are_refused(tmp_path, method):
    path = archive(tmp_path / "a.npz", {"images.npy": array_bytes(random_images(2))}, method)
    with zipfile.ZipFile(path, "a", method) as more:
        more.writestr("images.npy", array_bytes(random_images(2)))
        more.writestr("labels.npy", array_bytes(random_labels(2)))
    assert "holds two arrays of one name" in refused(path)


def test_a_bomb_is_not_unpacked(tmp_path, cache):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written, written.open("images.npy", "w") as member:
        for _ in range(400):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    assert "unpacks to far more than images" in refused(path)
    assert not any(entry.is_dir() for entry in cache.iterdir())


def test_a_member_that_is_longer_than_it_says_is_refused(tmp_path, cache):
    path = archive(
        tmp_path / "a.npz", {"images.npy": array_bytes(random_images(50)), "labels.npy": array_bytes(random_labels(50))}
    )
    raw = path.read_bytes()
    size = struct.pack("<I", len(array_bytes(random_images(50))))
    assert raw.count(size) == 2
    path.write_bytes(raw.replace(size, struct.pack("<I", 200)))
    assert "damaged" in refused(path)
    assert not any(entry.is_dir() for entry in cache.iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_read_too(tmp_path, method):
    members = {"images.npy": array_bytes(random_images(2)), "labels.npy": array_bytes(random_labels(2))}
    assert len(open_source("arrays", archive(tmp_path / "a.npz", members, method)).index().splits["train"]) == 2


def test_an_archive_of_very_many_members_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", {f"{number}.npy": b"" for number in range(20_000)}, zipfile.ZIP_STORED)
    assert "lists too many members" in refused(path)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, cache, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=random_images(5), labels=random_labels(5))
    from pipeline.sources.arrays import npz

    monkeypatch.setattr(npz, "_RESERVE", 1 << 60)
    line = refused(tmp_path / "a.npz")
    assert "is compressed: its arrays take" in line and "XDG_CACHE_HOME" in line
    assert not any(cache.iterdir())


def test_pipes_are_not_opened(tmp_path):
    save(tmp_path, {"labels": random_labels(2)})
    os.mkfifo(tmp_path / "images.npy")
    assert "images.npy cannot be read" in refused(tmp_path)
    os.mkfifo(tmp_path / "a.npz")
    assert refused(tmp_path / "a.npz")


def test_an_array_of_gigabytes_is_read_in_pieces(tmp_path):
    """The file has holes: it takes no space. The process may use 400 MB more than its imports."""
    count = 1_000_000
    head = npy(header(shape=(count, 32, 32, 3)))
    (tmp_path / "images.npy").write_bytes(head)
    os.truncate(tmp_path / "images.npy", len(head) + count * 3072)
    np.save(tmp_path / "labels.npy", np.zeros(count, np.uint8))
    script = "import resource, sys; from pathlib import Path; import pipeline.sources.arrays.source as source\n"
    script += "used = int(open('/proc/self/statm').read().split()[0]) << 12\n"
    script += "resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)\n"
    script += "print(len(source.open_arrays(Path(sys.argv[1])).index().splits['train']))"
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == (f"{count}\n", "")
