"""Promises of the arrays in an output: Zarr reads them, shards share no file, and chunks stay under 64 MB."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.formats import spectra, zarr_rows
from pipeline.formats.zarr_rows import RowArray, RowWriter


def written(array: RowArray, start: int, stop: int, positions: list[int], values: np.ndarray, root: Path) -> list[str]:
    """Writes a shard's rows below ``root`` and returns the names of its chunks."""

    def path(name: str) -> Path:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        return root / name

    writer = RowWriter(array, start, stop, path)
    for at in range(0, len(positions), 4):  # in batches, as a build does
        writer.add(positions[at : at + 4], values[at : at + 4])
    proofs = writer.finish()
    for proof in proofs:
        assert (root / proof.name).stat().st_size == proof.size
    return [proof.name for proof in proofs]


@pytest.mark.parametrize(("samples_per_shard", "size"), [(1250, 32), (1000, 224), (7, 5), (1000, 5000), (997, 15000)])
def test_chunks_divide_a_shards_rows_and_stay_under_64_mb(samples_per_shard: int, size: int) -> None:
    count = spectra.array("train", size, samples_per_shard).chunk_rows
    assert samples_per_shard % count == 0
    assert count == 1 or count * 3 * size * 4 <= 64 * 2**20


def test_no_two_shards_share_a_chunk_and_each_chunk_is_written_whole(tmp_path: Path) -> None:
    array = spectra.array("train", 4, 6)
    values = np.arange(2 * 6 * 3 * 4, dtype=np.float32).reshape(12, 3, 4)
    first = written(array, 0, 6, list(range(6)), values[:6], tmp_path)
    second = written(array, 6, 10, list(range(6, 10)), values[6:10], tmp_path)
    assert first == array.chunks(0, 6)
    assert second == array.chunks(6, 10)
    assert not set(first) & set(second)
    assert {(tmp_path / name).stat().st_size for name in first + second} == {6 * 3 * 4 * 4}


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@pytest.mark.parametrize("most", [1 << 26, 200])
def test_zarr_reads_what_is_written_and_gaps_are_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, most: int
) -> None:
    monkeypatch.setattr(zarr_rows, "MAX_CHUNK", most)  # a chunk a shard, or several
    array = RowArray("some.zarr/train/u", (3, 4, 2), dtype, ("channel", "row", "rank"), 6)
    assert array.chunk_rows == (6 if most > 200 else 2 if dtype == "<f4" else 3)
    values = np.random.default_rng(0).random((10, 3, 4, 2)).astype(dtype)
    positions = [0, 1, 3, 4, 7, 8]
    written(array, 0, 6, positions[:4], values[positions[:4]], tmp_path)
    written(array, 6, 10, positions[4:], values[positions[4:]], tmp_path)
    for name, data in zarr_rows.metadata("some.zarr", {"what": "a test"}, {array: 10}).items():
        (tmp_path / name).write_bytes(data)
    group = zarr.open_group(str(tmp_path / "some.zarr"), mode="r")
    read = group["train/u"]
    assert isinstance(read, zarr.Array)
    expected = np.full_like(values, np.nan)
    expected[positions] = values[positions]
    np.testing.assert_array_equal(np.asarray(read), expected)
    assert read.metadata.dimension_names == ("image", "channel", "row", "rank")  # type: ignore[union-attr]
    assert group.attrs["what"] == "a test"
