"""``spectra.zarr``: the singular values of every image, one Zarr array per split.

Row = output position, float32 (n, 3, min(h, w)), of the image in [0, 1] (paper eq. 1), descending; rejects are NaN.
Error of a value: at most 1.5e-8 sqrt(min(h, w)) sigma_1, plus float32 rounding.
Chunks are whole numbers of rows, uncompressed,
and divide a shard's, so that each is written by one task. Format: Zarr 3.
"""

import numpy as np

STORE = "spectra.zarr"
MAX_CHUNK = 64 * 2**20  # bytes


def chunk_rows(samples_per_shard: int, size: int) -> int:
    """Rows of a chunk: the largest divisor of a shard's rows that keeps a chunk under 64 MB."""
    for parts in range(1, samples_per_shard + 1):
        rows = samples_per_shard // parts
        if samples_per_shard % parts == 0 and rows * 3 * size * 4 <= MAX_CHUNK:
            return rows
    return 1


def names(split: str, start: int, stop: int, size: int, samples_per_shard: int) -> list[str]:
    """The names of the chunk files of output positions ``start`` to ``stop``."""
    rows = chunk_rows(samples_per_shard, size)
    return [f"{STORE}/{split}/c.{first // rows}.0.0" for first in range(start, stop, rows)]


def chunks(split: str, start: int, values: np.ndarray, samples_per_shard: int) -> dict[str, bytes]:
    """The chunk files of one shard, by their names in the output.

    Args:
        start: output position of the first row.
        values: float32 (rows, 3, n).
    """
    rows = chunk_rows(samples_per_shard, values.shape[2])
    files = {}
    every = names(split, start, start + len(values), values.shape[2], samples_per_shard)
    for name, first in zip(every, range(0, len(values), rows), strict=True):
        chunk = np.full((rows, *values.shape[1:]), np.nan, "<f4")
        part = values[first : first + rows]
        chunk[: len(part)] = part
        files[name] = chunk.tobytes()
    return files


def metadata(entries: dict[str, int], size: int, samples_per_shard: int) -> dict[str, bytes]:
    """The store's ``zarr.json`` files, by their names in the output.

    Args:
        entries: output positions of each split.
        size: min(h, w).
    """
    import zarr  # half a second to import, and only the driver needs it
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    attributes = {
        "what": "singular values of each colour channel of the image in [0, 1], descending",
        "row": "output position; NaN where the image was rejected",
        "error": "at most 1.5e-8 sqrt(min(h, w)) of the largest singular value, plus float32 rounding",
    }
    root = zarr.create_group(MemoryStore(files), zarr_format=3, attributes=attributes)
    for split, count in entries.items():
        root.create_array(
            split,
            shape=(count, 3, size),
            chunks=(chunk_rows(samples_per_shard, size), 3, size),
            dtype="<f4",
            fill_value=np.float32(np.nan),
            compressors=None,
            filters=None,
            dimension_names=("image", "channel", "rank"),
            chunk_key_encoding={"name": "default", "separator": "."},  # one flat folder of files per split
            config={"write_empty_chunks": True},
        )
    return {f"{STORE}/{name}": content.to_bytes() for name, content in sorted(files.items())}
