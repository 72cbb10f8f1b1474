"""Every image of a Parquet file is that of pyarrow, whatever wrote the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.parquet.pages import Damaged
from pipeline.sources.parquet.source import Parquet
from pipeline.sources.parquet.values import hybrid

OPTIONS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([64, 1000, 1 << 20]),
        "dictionary_pagesize_limit": st.sampled_from([100, 1 << 20]),
        "row_group_size": st.integers(1, 60),
        "write_batch_size": st.sampled_from([1, 7, 1024]),
        "write_page_index": st.booleans(),
        "use_content_defined_chunking": st.booleans(),
        "write_page_checksum": st.booleans(),
    }
)
IMAGE = st.none() | st.sampled_from([b"", b"x", b"again" * 9]) | st.binary(max_size=300) | st.just(b"l" * 30_000)
KINDS = st.sampled_from(["struct", "binary", "large_binary", "required", "struct_required"])


def column_of(kind: str, written: list[bytes | None]) -> tuple[pa.Field, pa.Array]:
    if kind.startswith("struct"):
        rows: list[dict[str, object] | None] = [
            None if image is None and n % 2 else {"bytes": image, "path": None} for n, image in enumerate(written)
        ]
        inner = pa.struct([pa.field("path", pa.string()), pa.field("bytes", pa.binary(), nullable=kind == "struct")])
        if kind == "struct_required":
            rows = [None if image is None else {"bytes": image, "path": "p"} for image in written]
        return pa.field("image", inner), pa.array(rows, inner)
    type_of = pa.large_binary() if kind == "large_binary" else pa.binary()
    if kind == "required":
        return pa.field("image", type_of, nullable=False), pa.array([image or b"" for image in written], type_of)
    return pa.field("image", type_of), pa.array(written, type_of)


@given(written=st.lists(IMAGE, min_size=1, max_size=120), options=OPTIONS, kind=KINDS, first=st.booleans())
def test_every_image_is_that_of_pyarrow_however_it_is_written(tmp_path_factory, written, options, kind, first):
    root = tmp_path_factory.mktemp("files")
    field, column = column_of(kind, [*written, b"one at least"])
    labels = pa.array([n % 3 for n in range(len(column))], pa.int32())
    fields = [(field, column), (pa.field("label", pa.int32()), labels)]
    fields = fields if first else fields[::-1]
    path = root / "a.parquet"
    schema = pa.schema([field for field, _ in fields])
    pq.write_table(pa.Table.from_arrays([column for _, column in fields], schema=schema), path, **options)
    reference = pq.read_table(path)["image"].to_pylist()
    if kind.startswith("struct"):
        reference = [image and image["bytes"] for image in reference]
    rows = [row for row, image in enumerate(reference) if image is not None]
    source = Parquet(root)
    listed = source.index().splits["train"]
    assert [int(name) for name in listed.names] == rows
    assert listed.labels.tolist() == [row % 3 for row in rows]
    assert [source.read(listed.entry(n)) for n in range(len(rows))] == [reference[row] for row in rows]
    assert [source.read(listed.entry(n), 5) for n in range(len(rows))] == [reference[row][:5] for row in rows]
    assert listed.sizes.tolist() == [len(reference[row]) for row in rows]


@given(
    width=st.integers(0, 20),
    runs=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 2**20)), max_size=10),
)
def test_runs_and_packed_integers(width, runs):
    data, expected = b"", list[int]()
    for packed, length, value in runs:
        value &= (1 << width) - 1
        if packed:
            numbers = [(value + n) & ((1 << width) - 1) for n in range(8 * length)]
            bits = sum(number << (width * n) for n, number in enumerate(numbers))
            data += varint(length << 1 | 1) + bits.to_bytes(length * width, "little")
            expected += numbers
        else:
            data += varint(length << 1) + value.to_bytes((width + 7) // 8, "little")
            expected += [value] * length
    assert hybrid(data, width, len(expected)).tolist() == expected
    with pytest.raises(Damaged):
        hybrid(data, width, len(expected) + 1)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
