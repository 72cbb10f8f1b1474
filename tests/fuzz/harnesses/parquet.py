"""A Parquet file: its footer, its metadata, the choice of columns, and the pages of images and labels."""

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError
from pipeline.sources.parquet.source import Parquet
from tests.fuzz.place import cache, folder

ALLOWED = (PipelineError,)
JSON = False
_FILE = folder() / "parquet" / "train-00000-of-00001.parquet"


def _file(images: pa.Array, labels: pa.Array, features: object = None, **options: object) -> bytes:
    written, file = pa.table({"image": images, "label": labels}), io.BytesIO()
    if features:
        written = written.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(written, file, row_group_size=3, **options)
    return file.getvalue()


def seeds() -> Iterator[bytes]:
    images = pa.array([b"one", b"two", None, b"three" * 20, b"two"])
    structures = pa.array([{"bytes": content.as_py(), "path": "a.png"} for content in images])
    numbers, names = pa.array([0, 1, -1, 1, None]), pa.array(["cat", "dog", "cat", None, "Hündin"])
    classes = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    yield _file(images, numbers, compression="none")
    yield _file(structures, numbers, classes, compression="none", use_dictionary=False)
    yield _file(structures, names, compression="snappy")
    yield _file(images, names, compression="zstd", data_page_version="2.0")
    yield _file(images, names.dictionary_encode(), compression="gzip", use_dictionary=False)


def parse(data: bytes) -> None:
    _FILE.parent.mkdir(exist_ok=True)
    _FILE.write_bytes(data)
    source = Parquet(_FILE.parent)
    with cache():
        index = source.index()
    for split in index.splits.values():
        assert len(split.labels) == len(split.names) == len({*split.names})
        assert split.labels.min(initial=0) >= 0 and split.labels.max(initial=0) < len(index.classes)
        try:
            for number in range(len(split)):
                entry = split.entry(number)
                assert len(source.read(entry)) == entry.size
        except OSError as error:  # as of a damaged disk: the run tries it again
            assert str(error)
