"""Promises of shards: every tar reader reads them, equal samples give equal bytes, and the index holds the offsets."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.formats.packed import PackedFiles
from pipeline.formats.tar import ShardFile, ShardWriter, heads
from pipeline.storage import files

Sample = tuple[str, int, bytes]  # key, label, image


def samples(count: int = 20) -> list[Sample]:
    """Returns samples with sizes around the edges of a tar block, and labels of one to three digits."""
    rng = np.random.default_rng(0)
    sizes = [0, 1, 511, 512, 513, 1023, 1024, 100_000, *rng.integers(1, 5000, count)][:count]
    return [(f"train-{i * 7:08d}", (i * 37) % 1000, rng.bytes(int(size))) for i, size in enumerate(sizes)]


def write(path: Path, samples: list[Sample], batch: int = 7) -> ShardFile:
    writer = ShardWriter(path)
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        keys, labels, images = zip(*part, strict=True)
        writer.add(heads(keys, labels), PackedFiles.of(images))
    return writer.finish()


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Path, ShardFile]:
    path = tmp_path / "x.tar"
    return path, write(path, samples())


def test_tarfile_reads_every_sample_png_then_cls(shard: tuple[Path, ShardFile]) -> None:
    with tarfile.open(shard[0], errorlevel=2) as tar:
        read = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    expected = []
    for key, label, image in samples():
        expected += [(f"{key}.png", image), (f"{key}.cls", str(label).encode())]
    assert read == expected


def test_gnu_tar_lists_and_extracts_it_without_a_warning(shard: tuple[Path, ShardFile], tmp_path: Path) -> None:
    if "GNU" not in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("tar here is not GNU tar")
    command = ["tar", "--utc", "--full-time", "-tvf", str(shard[0])]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert [row[-1] for row in rows[::2]] == [f"{key}.png" for key, _, _ in samples()]
    assert [int(row[2]) for row in rows[::2]] == [len(image) for _, _, image in samples()]
    assert {tuple(row[:2] + row[3:5]) for row in rows} == {("-rw-r--r--", "0/0", "1970-01-01", "00:00:00")}
    extracted = subprocess.run(["tar", "-xf", str(shard[0]), "-C", str(tmp_path)], capture_output=True, check=True)
    assert extracted.stderr == b""
    for key, label, image in samples():
        assert (tmp_path / f"{key}.png").read_bytes() == image
        assert (tmp_path / f"{key}.cls").read_text() == str(label)


def test_every_header_is_plain_ustar_without_time_owner_or_extension(shard: tuple[Path, ShardFile]) -> None:
    content = shard[0].read_bytes()
    with tarfile.open(shard[0]) as tar:
        members = tar.getmembers()
        assert tar.pax_headers == {}
    for member in members:
        assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
        assert (member.uname, member.gname, member.linkname, member.pax_headers) == ("", "", "", {})
        assert member.type == tarfile.REGTYPE
        header = content[member.offset : member.offset + 512]
        assert header[257:265] == b"ustar\x0000"
        expected = member.tobuf(tarfile.USTAR_FORMAT)
        for first, stop in ((0, 148), (156, 329), (345, 512)):  # all but the checksum and the device numbers
            assert header[first:stop] == expected[first:stop]
        assert header[148:156] == b"%06o\0 " % (sum(header[:148]) + 8 * ord(" ") + sum(header[156:]))


def test_sizes_are_eleven_octal_digits_and_a_nul(shard: tuple[Path, ShardFile]) -> None:
    content = shard[0].read_bytes()
    with tarfile.open(shard[0]) as tar:
        for member in tar:
            assert content[member.offset + 124 : member.offset + 136] == f"{member.size:011o}\0".encode()


def test_it_ends_with_two_blocks_of_zeros_and_nothing_else(shard: tuple[Path, ShardFile]) -> None:
    content = shard[0].read_bytes()
    with tarfile.open(shard[0]) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + 512
    assert content[last.offset_data + last.size :] == bytes(end - last.offset_data - last.size) + bytes(1024)
    assert len(content) % 512 == 0


def test_size_and_hash_are_those_of_the_file(shard: tuple[Path, ShardFile]) -> None:
    path, finished = shard
    assert finished.size == path.stat().st_size
    assert finished.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_index_has_tarfiles_offsets(shard: tuple[Path, ShardFile]) -> None:
    path, finished = shard
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    lines = [f"v1.2 {len(members) // 2}"]
    for image, label in zip(members[::2], members[1::2], strict=True):
        parts = (f"{m.name[-3:]} {m.offset_data} {m.size} {m.name}" for m in (image, label))
        lines.append(" ".join(parts))
    assert finished.dali_index.decode() == "\n".join(lines) + "\n"


def test_bytes_depend_neither_on_batches_nor_on_the_file(tmp_path: Path) -> None:
    finished = [write(tmp_path / f"{batch}.tar", samples(), batch) for batch in (1, 3, 100)]
    assert finished[0] == finished[1] == finished[2]
    assert len({(tmp_path / f"{batch}.tar").read_bytes() for batch in (1, 3, 100)}) == 1


def test_an_empty_shard_is_a_valid_empty_tar(tmp_path: Path) -> None:
    finished = write(tmp_path / "empty.tar", [])
    assert finished.dali_index == b"v1.2 0\n"
    with tarfile.open(tmp_path / "empty.tar") as tar:
        assert tar.getmembers() == []


def test_names_up_to_100_bytes_fit_and_longer_ones_are_refused(tmp_path: Path) -> None:
    longest = "k" * 96
    write(tmp_path / "x.tar", [(longest, 1, b"image")])
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == [f"{longest}.png", f"{longest}.cls"]
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        heads(["k" * 97], [1])


def test_samples_and_images_must_correspond(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.tar")
    with pytest.raises(ValueError, match="1 samples and 2 images"):
        writer.add(heads(["a"], [1]), PackedFiles.of([b"one", b"two"]))
    writer.close()


def test_a_short_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unbuffered file may write fewer bytes than it gets."""
    expected = write(tmp_path / "x.tar", samples())

    class Slow(io.FileIO):
        writes = 0

        def write(self, data: bytes) -> int:  # type: ignore[override]
            Slow.writes += 1
            return super().write(bytes(data)[:1000])

    monkeypatch.setattr(files, "create", lambda path, buffering: Slow(path, "x"))
    slow = write(tmp_path / "slow.tar", samples())
    assert Slow.writes > 100
    assert slow == expected
    assert (tmp_path / "slow.tar").read_bytes() == (tmp_path / "x.tar").read_bytes()


def test_webdataset_reads_it(shard: tuple[Path, ShardFile]) -> None:
    import webdataset

    rows = list(webdataset.WebDataset(str(shard[0]), shardshuffle=False, empty_check=False))
    assert [(row["__key__"], int(row["cls"]), row["png"]) for row in rows] == samples()
