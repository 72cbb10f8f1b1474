"""Parquet files are scanned once and read in place; a file that changes is a disk error."""

import os

import numpy as np
import pytest

from pipeline.sources.parquet import place
from pipeline.sources.parquet.source import Parquet
from tests.unit.sources.parquet.make import images, table, write


def test_files_are_scanned_once(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.parquet", table(images(5), [0] * 5))
    first = Parquet(tmp_path).index()
    assert len(list(cache.iterdir())) == 1
    from pipeline.sources.parquet import source as module

    monkeypatch.setattr(module, "scan_files", lambda *_: pytest.fail("scanned again"))
    assert Parquet(tmp_path).index().fingerprint() == first.fingerprint()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    write(path, table(images(6), [1] * 6))
    assert len(Parquet(tmp_path).index().splits["train"]) == 6


def incompressible(size: int) -> list[bytes]:
    return [os.urandom(size) for _ in range(200)]


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_a_file_that_changes_after_the_index_is_a_disk_error(tmp_path, compression):
    path = write(tmp_path / "a.parquet", table(incompressible(60), [0] * 200), compression=compression)
    source = Parquet(tmp_path)
    listed = source.index().splits["train"]
    place._PAGES._pages.clear()
    write(path, table(incompressible(90), [0] * 200), compression=compression)
    with pytest.raises(OSError, match=r"a.parquet has changed since it was indexed|is shorter"):
        source.read(listed.entry(150))
    os.truncate(path, 600)
    place._PAGES._pages.clear()
    with pytest.raises(OSError, match=r"a\.parquet"):
        source.read(listed.entry(199))
    path.unlink()
    with pytest.raises(OSError):
        source.read(listed.entry(199))


def test_pages_in_memory_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "_KEPT", 50_000)
    rng = np.random.default_rng(0)
    content = [rng.bytes(2000) for _ in range(200)]
    write(
        tmp_path / "a.parquet",
        table(content, [0] * 200),
        compression="snappy",
        use_dictionary=False,
        data_page_size=8000,
        write_batch_size=1,
    )
    source = Parquet(tmp_path)
    listed = source.index().splits["train"]
    place._PAGES._pages.clear()
    place._PAGES._size = 0
    for number in rng.permutation(200).tolist():
        assert source.read(listed.entry(number)) == content[number]
        assert sum(map(len, place._PAGES._pages.values())) == place._PAGES._size <= 50_000


def test_pages_of_large_images_are_not_read_to_find_them(tmp_path, monkeypatch):
    content = [os.urandom(200_000) for _ in range(20)]
    path = write(tmp_path / "a.parquet", table(content, [0] * 20), compression="none", use_dictionary=False)
    read, real = [], os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        content: bytes = real(descriptor, size, offset)
        return content

    monkeypatch.setattr(os, "pread", counted)
    source = Parquet(tmp_path)
    listed = source.index().splits["train"]
    assert sum(read) < path.stat().st_size / 10
    monkeypatch.undo()
    assert [source.read(listed.entry(n)) for n in range(20)] == content
