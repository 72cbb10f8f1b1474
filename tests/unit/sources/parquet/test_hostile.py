"""Hostile and damaged Parquet files end in one line, in bounded memory, whatever their bytes claim."""

import contextlib
import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.sources.parquet.pages import Damaged, page_at
from pipeline.sources.parquet.source import Parquet
from pipeline.sources.parquet.thrift import CutOff, parse_struct
from tests.unit.sources.parquet.make import BYTES, images, metadata, refused, table, write

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def outcome(root):
    """Reads everything that the index lists. Returns the error's line, or None."""
    source = Parquet(root)
    try:
        index = source.index()
        for listed in index.splits.values():
            for number in range(len(listed)):
                source.read(listed.entry(number))
    except PipelineError as error:
        assert "\n" not in str(error) and str(error).strip()
        return str(error)
    except OSError as error:
        return str(error)
    return None


def test_a_file_that_is_cut_off_is_one_line(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(50), [0] * 50))
    whole = path.read_bytes()
    for cut in (0, 3, 4, 11, 12, 100, len(whole) // 2, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        line = refused(tmp_path)
        assert str(path) in line and ("cut off" in line or "no Parquet file" in line)
    path.write_bytes(whole + b"more")
    assert "cut off" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"PAR1" + bytes(40) + b"PAR1", "its footer is damaged"),
        (b"PAR1" + bytes(20) + struct.pack("<I", 1 << 30) + b"PAR1", "its footer is damaged"),
        (b"PARE" + bytes(40) + b"PARE", "it is encrypted"),
        (b"\x89PNG" + bytes(100), "it is no Parquet file"),
        (LFS, "it is a Git LFS pointer"),
        (b"PAR1" + b"\x15\x04" * 30 + struct.pack("<I", 40) + b"PAR1", "its footer is damaged"),
    ],
)
def test_what_is_no_parquet_file_is_named(tmp_path, content, line):
    (tmp_path / "a.parquet").write_bytes(content)
    assert line in refused(tmp_path)


@given(data=st.data(), compression=st.sampled_from(["none", "snappy", "zstd"]), dictionary=st.booleans())
def test_any_damage_gives_images_or_one_line(tmp_path_factory, data, compression, dictionary):
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    written = table([rng.bytes(50) for _ in range(20)], ["a", "b"] * 10)
    path = write(root / "a.parquet", written, compression=compression, use_dictionary=dictionary, row_group_size=7)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    outcome(root)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_structure_or_an_error(data):
    try:
        fields, length = parse_struct(data)
        assert 0 < length <= len(data) and isinstance(fields, dict)
    except (CutOff, ValueError):
        pass
    with contextlib.suppress(Damaged):
        page_at(lambda offset, size: data[offset : offset + size], 0, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x1c" * 1000,
        b"\x19" * 1000,
        b"\x19\xfc\xff\xff\xff\xff\x07" + bytes(50),
        b"\x18" + b"\xff" * 9 + b"\x01",
        b"\x1b",
        b"\x19\xf1\xff\xff\xff\x7f" + bytes(6_000_000),
    ],
)
def test_structures_that_are_too_deep_or_too_long(data):
    with pytest.raises((CutOff, ValueError)):
        parse_struct(data)


@pytest.mark.parametrize(
    "features",
    [
        b"{", b"[]", b"null", b'{"info": 3}', b'{"info": {"features": []}}', b'{"info": {"features": {"label": 5}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 5}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": []}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["\\ud800", "b"]}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a\\u0000", "b"]}}}}',
        b"[" * 100_000, b"\xff\xfe", b"9" * 5000,
    ],
)  # fmt: skip
def test_hostile_metadata(tmp_path, features):
    written = table(images(2), [0, 1]).replace_schema_metadata({b"huggingface": features})
    write(tmp_path / "a.parquet", written)
    line = outcome(tmp_path)
    assert line is None or "class names of 'label'" in line


def test_names_with_escape_sequences_stay_on_one_line(tmp_path, build):
    write(tmp_path / "data" / "a.parquet", table([b"x"], [5], ["\x1b[2J\n", "b"]))
    result = build("--dataset", "parquet", "--data-dir", tmp_path / "data", "--out", tmp_path / "out", "--ranks", 2)
    assert result.status == 1 and result.err.count("\n") == 1 and result.err[:-1].isprintable()


def test_a_path_is_never_opened(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    rows = pa.array([{"bytes": None, "path": str(secret)}, {"bytes": b"x", "path": "../../etc/passwd"}], BYTES)
    write(tmp_path / "data" / "a.parquet", pa.table({"image": rows, "label": [0, 1]}))
    source = Parquet(tmp_path / "data")
    listed = source.index().splits["train"]
    assert listed.names == ["00000001"] and source.read(listed.entry(0)) == b"x"
    assert listed.files == ["a.parquet"]


def test_pipes_and_links_that_lead_nowhere_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    assert "a.parquet cannot be read" in refused(tmp_path)
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.parquet").symlink_to("nowhere")
    assert "a.parquet cannot be read" in refused(tmp_path)


def test_a_link_to_a_file_is_read_as_in_the_cache_of_the_hub(tmp_path):
    write(tmp_path / "blobs" / "x", table([b"x"], [0]))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train-00000-of-00001.parquet").symlink_to("../blobs/x")
    assert len(Parquet(tmp_path / "snapshot").index().splits["train"]) == 1


# Bombs: the process may use a gigabyte more than its imports

LIMITED = """
import resource, sys
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.sources.parquet.source import Parquet
import pyarrow
used = int(open("/proc/self/statm").read().split()[0]) << 12
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
try:
    index = Parquet(Path(sys.argv[1])).index()
    print("read", sum(map(len, index.splits.values())))
except PipelineError as error:
    print(error)
"""


def limited(root):
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(root)], capture_output=True, text=True, check=False, timeout=100
    )
    assert ran.stderr == "" and ran.stdout.count("\n") == 1
    return ran.stdout


def test_a_billion_rows_in_few_bytes_are_refused(tmp_path):
    count = 50_000_000
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([b"x"], pa.binary()))
    written = pa.table({"image": column, "label": pa.array(np.zeros(count, np.int8))})
    write(tmp_path / "a.parquet", written.cast(pa.schema([("image", column.type), ("label", pa.int8())])))
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    assert "its footer claims 50,000,000 images in" in limited(tmp_path)


def test_a_page_that_unpacks_to_gigabytes_is_refused(tmp_path):
    written = pa.table({"image": [bytes(600 << 20)] + [os.urandom(64)] * 20, "label": [0] * 21})
    write(tmp_path / "a.parquet", written, compression="zstd", use_dictionary=False)
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    assert "after decompression, at most 536,870,912 are read" in limited(tmp_path)


def test_a_label_of_megabytes_in_every_row_takes_its_memory_once(tmp_path):
    count = 20_000
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["y" * (1 << 20)]))
    content = [os.urandom(64) for _ in range(count)]
    write(tmp_path / "a.parquet", pa.table({"image": content, "label": names}), compression="zstd")
    assert "which is no class name" in limited(tmp_path)


def test_labels_that_unpack_to_gigabytes_are_refused(tmp_path):
    labels = ["z" * (300 << 20), "a"] + ["b"] * 100
    columns = {"image": [os.urandom(64)] * 102, "label": labels}
    write(
        tmp_path / "a.parquet",
        pa.table(columns),
        compression="zstd",
        use_dictionary=False,
    )
    assert "after decompression, at most 67,108,864 are read" in limited(tmp_path)


def test_very_many_class_names_are_refused(tmp_path):
    names = [str(number) for number in range(100_001)]
    path = write(tmp_path / "a.parquet", table(images(2, 2_000_000), [0, 1]).replace_schema_metadata(metadata(names)))
    assert path.exists() and "are damaged" in refused(tmp_path)
