"""Writes Parquet files with pyarrow, and reads them as the source does."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import PipelineError
from pipeline.sources.parquet.source import Parquet

BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def metadata(names: list[str] | None, image: str = "image", label: str = "label") -> dict[bytes, bytes]:
    """Returns the schema's metadata as ``datasets`` writes them."""
    features: dict[str, object] = {image: {"_type": "Image"}}
    features[label] = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def table(images: list[bytes | None], labels: list[object], names: list[str] | None = None) -> pa.Table:
    """Returns a table as the Hub has them; without ``names`` it has no metadata."""
    column = pa.array([{"bytes": image, "path": "../../x.png"} for image in images], BYTES)
    written = pa.table({"image": column, "label": labels})
    return written.replace_schema_metadata(metadata(names)) if names else written


def write(path: Path, written: pa.Table, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(written, path, **options)
    return path


def images(count: int, size: int = 40) -> list[bytes]:
    return [bytes([number % 251]) * (size + number % 7) for number in range(count)]


def refused(root: Path, *keys: Any) -> str:
    with pytest.raises(PipelineError) as caught:
        Parquet(root, *keys).index()
    line = str(caught.value)
    assert "\n" not in line and caught.value.status == 1
    return line


def contents(source: Parquet, split: str = "train") -> list[bytes]:
    listed = source.index().splits[split]
    return [source.read(listed.entry(number)) for number in range(len(listed))]
