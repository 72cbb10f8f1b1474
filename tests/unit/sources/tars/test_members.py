"""The fast listing of plain archives agrees with the careful scan, or leaves the archive to it."""

import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.sources.tars.members import BLOCK, Member, scan
from pipeline.sources.tars.plain import Headers, plain_members
from tests.conftest import examples
from tests.unit.sources.make_imagenet import tar_bytes


def careful(path: Path) -> list[Member] | None:
    """Returns the members by ``scan``; None if it refuses the archive."""
    with open(path, "rb") as file:
        try:
            return list(scan(file.fileno(), "x"))
        except PipelineError:
            return None


def fast(path: Path, start: int = 0) -> list[Member] | None:
    with open(path, "rb") as file:
        plain = plain_members(file.fileno(), "x", start, os.fstat(file.fileno()).st_size - start, os.pread)
    if plain is None:
        return None
    columns = ([os.fsdecode(name) for name in plain.names.tolist()], plain.offsets.tolist(), plain.sizes.tolist())
    return [Member(*fields) for fields in zip(*columns, strict=True)]


FILES = [(f"n01440764_{n}.JPEG", bytes(n * 200)) for n in range(6)]


def test_a_plain_archive_is_listed_as_by_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(FILES))
    members = fast(path)
    assert members == careful(path)
    assert members is not None and [member.name for member in members] == [name for name, _ in FILES]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_other_members_is_left_to_the_scan(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.JPEG"))
        other = tarfile.TarInfo("b.JPEG")
        other.type = kind
        tar.addfile(other)
    assert fast(path) is None


@pytest.mark.parametrize("name", ["x" * 101, "folder/" * 20 + "x", "é" * 60])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_with_long_names_is_left_to_the_scan(tmp_path: Path, name: str, form: int) -> None:
    path = tmp_path / "x.tar"
    try:
        path.write_bytes(tar_bytes([("a.JPEG", b"a"), (name, b"b")], form))
    except ValueError:
        pytest.skip("this format cannot hold the name")
    assert fast(path) is None


@pytest.mark.parametrize("length", [0, 300, BLOCK, 3 * BLOCK, 5 * BLOCK])
def test_an_archive_that_is_cut_off_is_left_to_the_scan(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(FILES)[:length])
    assert fast(path) is None and careful(path) is None


def test_content_after_the_end_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(FILES) + tar_bytes(FILES))
    with pytest.raises(PipelineError, match="end mark"):
        fast(path)


@examples(300)
@given(data=st.data())
def test_a_damaged_archive_is_never_listed_differently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(tar_bytes(FILES[:3]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = (
            data.draw(st.integers(0, 2 * BLOCK))
            if data.draw(st.booleans())
            else data.draw(st.integers(0, len(raw) - 1))
        )
        raw[place] = data.draw(st.sampled_from([0, 32, 45, 48, 49, 53, 55, 56, 76, 95, 120, 128, 255]))
    if data.draw(st.booleans()):  # a right checksum over wrong content
        block = raw[:148] + b" " * 8 + raw[156:BLOCK]
        raw[148:156] = f"{sum(block):06o}\0 ".encode()
    path = tmp_path_factory.mktemp("damaged") / "x.tar"
    path.write_bytes(raw)
    try:
        members = fast(path)
    except PipelineError:
        members = None
        assert careful(path) is None
    assert members is None or members == careful(path)


def test_threads_that_share_headers_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(FILES))
    headers, results = Headers(), []

    def work() -> None:
        with headers.turn():
            results.append(list(scan(descriptor, "x", 0, path.stat().st_size, headers.read)))

    with open(path, "rb") as file:
        descriptor = file.fileno()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [careful(path)] * 4


def test_a_thread_that_waits_for_the_disk_gives_its_turn_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(FILES))
    headers = Headers()

    def not_cached(*_: object) -> int:
        raise BlockingIOError

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        assert not headers._lock.locked()
        return io.BytesIO(path.read_bytes()[offset : offset + size]).read()

    monkeypatch.setattr(os, "preadv", not_cached)
    monkeypatch.setattr(os, "pread", pread)
    with open(path, "rb") as file, headers.turn():
        assert headers.read(file.fileno(), BLOCK, 0) == path.read_bytes()[:BLOCK]
        assert headers._lock.locked()
