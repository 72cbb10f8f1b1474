"""``export --format parquet``: what ``datasets`` and DuckDB read, equal bytes, bounded memory, and one line per mistake."""

import hashlib
import sys
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.build import main as build
from pipeline.data import RankDataset, export_parquet
from pipeline.data.export import parquet as module
from pipeline.errors import PipelineError, UsageError
from pipeline.export import main
from tests.unit.data.conftest import Edit, read_shards


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def files(to: Path) -> list[str]:
    return sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file())


def test_datasets_reads_images_labels_and_keys(
    out: Path, tmp_path: Path, hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 100_000)
    monkeypatch.setattr(module, "_GROUP_ROWS", 7)
    to = tmp_path / "hub"
    assert main([str(out), "--variant", "highrank5", "--to", str(to), "--format", "parquet", "--quiet"]) == 0
    count = len(files(to)) - 1
    assert count > 1
    assert files(to) == ["data/test-00000-of-00001.parquet"] + [
        f"data/train-{number:05d}-of-{count:05d}.parquet" for number in range(count)
    ]
    loaded = datasets.load_dataset(str(to))
    for split in ("train", "test"):
        expected, rows = read_shards(out, "highrank5", split), loaded[split]
        assert rows["key"][:] == expected.keys
        assert rows["label"][:] == expected.labels
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in rows["image"]]), expected.images)
        assert rows.features["label"].names[:2] == ["airplane", "automobile"]
        stored = rows.cast_column("image", datasets.Image(decode=False))["image"]
        assert [image["bytes"] for image in stored] == expected.members
    streamed = datasets.load_dataset(str(to), split="train", streaming=True)
    assert [row["key"] for row in streamed] == read_shards(out, "highrank5", "train").keys


def test_duckdb_counts_labels_and_finds_a_key(out: Path, tmp_path: Path) -> None:
    export_parquet(out, tmp_path / "hub", "rank5")
    pattern = str(tmp_path / "hub" / "data" / "train-*.parquet")
    counts = (
        duckdb.connect().execute(f"SELECT label, count(*) FROM '{pattern}' GROUP BY label ORDER BY label").fetchall()
    )
    expected = read_shards(out, "rank5", "train")
    assert dict(counts) == {label: expected.labels.count(label) for label in sorted({*expected.labels})}
    key = expected.keys[33]
    [(content,)] = duckdb.connect().execute(f"SELECT image.bytes FROM '{pattern}' WHERE key = '{key}'").fetchall()
    assert content == expected.members[33]


def test_an_export_has_the_same_bytes_twice_and_small_row_groups(out: Path, tmp_path: Path) -> None:
    for name in "ab":
        export_parquet(out, tmp_path / name, "full", ["val"])
    assert files(tmp_path / "a") == files(tmp_path / "b") == ["data/test-00000-of-00001.parquet"]
    digests = [hashlib.sha256((tmp_path / name / files(tmp_path / name)[0]).read_bytes()) for name in "ab"]
    assert digests[0].digest() == digests[1].digest()


def test_a_row_group_holds_a_bounded_number_of_bytes(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GROUP_BYTES", 20_000)
    export_parquet(out, tmp_path / "hub", "full", ["train"])
    file = parquet.ParquetFile(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 30_000
    assert file.schema_arrow.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_build_reads_the_export(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(out), "--variant", "rank5", "--to", str(tmp_path / "hub"), "--format", "parquet"]) == 0
    assert capsys.readouterr().out == f"rank5 in {tmp_path / 'hub' / 'data'}: test-00000-of-00001.parquet, ...\n"
    job = ["--dataset", "parquet", "--data-dir", str(tmp_path / "hub"), "--components", "full", "--order", "source"]
    assert build([*job, "--workers", "0", "--quiet", "--out", str(tmp_path / "again")]) == 0
    for split in ("train", "test"):
        again, expected = RankDataset(tmp_path / "again", "full", split), read_shards(out, "rank5", split)
        np.testing.assert_array_equal(again.data, expected.images)
        assert again.targets == expected.labels
        assert again.classes[:2] == ["airplane", "automobile"]


def test_equal_and_unprintable_class_names_are_read(out: Path, edit: Edit, tmp_path: Path, hub: None) -> None:
    edit(lambda manifest: manifest.update(classes=["crane", "crane", "\udcff", "crane (1)", *"efghij"]))
    rows = datasets.load_dataset(str(export_parquet(out, tmp_path / "hub", "rank5")), split="test")
    names = [
        "crane (0)",
        "crane (1)",
        "\\udcff (2)",
        "crane (1) (3)",
        *(f"{c} ({i})" for i, c in enumerate("efghij", 4)),
    ]
    assert rows.features["label"].names == names


def test_an_interrupted_export_leaves_nothing(out: Path, tmp_path: Path) -> None:
    def stop(done: int, images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_parquet(out, tmp_path / "hub", "rank5", progress=stop)
    shard = sorted((out / "cifar10-rank5").glob("*-train-*.tar"))[1]
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(PipelineError):
        export_parquet(out, tmp_path / "hub", "rank5")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_mistakes_are_one_line(
    out: Path, exact_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to = str(tmp_path / "hub")
    assert main([str(out), "--to", to, "--format", "parquet"]) == 2
    assert capsys.readouterr().err == "error: --variant: --format parquet needs the variant, such as --variant rank5\n"
    with pytest.raises(UsageError, match="rank5-exact holds float32; use --format npy"):
        export_parquet(exact_out, to, "rank5-exact")
    with pytest.raises(UsageError, match="did you mean 'train'"):
        export_parquet(out, to, "rank5", ["trian"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PipelineError, match=r"pyarrow is not installed: pip install 'rank-shards\[parquet\]'"):
        export_parquet(out, to, "rank5")
    assert not Path(to).exists()
