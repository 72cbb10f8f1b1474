"""Exports one variant as parquet files in the layout of the Hugging Face Hub, which ``datasets`` and DuckDB read."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.class_names import unique
from pipeline.data.dataset import RankDataset
from pipeline.data.export.unfinished import Progress, appearing, report, silent
from pipeline.data.output import open_output
from pipeline.errors import UsageError
from pipeline.extras import optional_import

FILE_BYTES = 500_000_000  # of images in a file; a file then has about this size
_GROUP_BYTES, _GROUP_ROWS = 1 << 25, 1000  # of a row group, which is in memory as a whole


def export_parquet(
    root: str | os.PathLike[str],
    to: str | os.PathLike[str],
    variant: str = "rank5",
    splits: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Path:
    """Writes ``<to>/data/<split>-00000-of-0000N.parquet`` of one variant, with the stored PNG bytes.

    The columns are ``image`` (a struct of ``bytes`` and ``path``), ``label`` (int64) and ``key``. By the schema's metadata,
    ``datasets`` reads them as Image, ClassLabel and text. Rows are in the order of the output. The same images and the same
    version of pyarrow give the same bytes. Memory does not grow with the number of images.

    Args:
        root: folder of the output.
        to: a new or empty folder. It appears when it is complete, or not at all.
        variant: a variant that is stored as PNG.
        splits: names of splits; None for all that are not empty.
        progress: called with the number of images written and of all images.

    Returns:
        ``to``.

    Raises:
        UsageError: the variant's images are not PNG, or ``to`` is not empty.
        PipelineError: pyarrow is missing, or a sample cannot be read.
    """
    with optional_import():
        import pyarrow  # noqa: F401
    datasets = [RankDataset(root, variant, split) for split in splits or open_output(root).splits]
    datasets = [data for data in datasets if len(data)]
    if not datasets:
        raise UsageError(f"--format parquet: {variant} has no images")
    if datasets[0].part.form != "png":
        raise UsageError(f"--format parquet writes PNG files, but {variant} holds float32; use --format npy")
    total, written = sum(map(len, datasets)), 0
    with appearing(Path(to)) as unfinished:
        (unfinished / "data").mkdir()
        for data in datasets:
            ends = _file_ends(data)
            for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
                path = unfinished / "data" / f"{data.split}-{number:05d}-of-{len(ends):05d}.parquet"
                _write(data, range(start, end), path, lambda done, base=written: report(progress, base + done, total))
                written += end - start
    return Path(to)


def _file_ends(data: RankDataset) -> list[int]:
    """Returns the position behind the last sample of each file, such that files have about equal numbers of samples."""
    files = max(1, -(-data.stored_bytes // FILE_BYTES))
    return [len(data) * (number + 1) // files for number in range(files)]


def _write(data: RankDataset, positions: range, path: Path, done: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(data.classes)
    options: Any = {"use_dictionary": False, "write_statistics": ["label", "key"]}
    options["compression"] = "none"  # PNG files are compressed already
    with parquet.ParquetWriter(path, schema, **options) as writer:
        group: list[dict[str, Any]] = []
        size = 0
        for i in positions:
            key, content = data.key(i), data.raw(i)
            image = {"bytes": content, "path": f"{key}.png"}
            group.append({"image": image, "label": data.targets[i], "key": key})
            size += len(content)
            done(i - positions.start)
            if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS or i == positions[-1]:
                writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=len(group))
                group, size = [], 0


def _schema(classes: Sequence[str]) -> Any:
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": unique(classes), "_type": "ClassLabel"},
        "key": {"dtype": "string", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([("image", image), ("label", pa.int64()), ("key", pa.string())], metadata)
