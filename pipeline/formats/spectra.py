"""``spectra.zarr``: the singular values of every image, in one array per split. Every output has it.

Row: float32 (3, min(h, w)), of the image in [0, 1] (paper eq. 1), descending.
Error of a value: at most 1.5e-8 sqrt(min(h, w)) sigma_1, plus float32 rounding.
"""

from pipeline.formats import zarr_rows
from pipeline.formats.zarr_rows import RowArray

STORE = "spectra.zarr"


def array(split: str, size: int, samples_per_shard: int) -> RowArray:
    """Returns the array of a split. ``size``: min(h, w)."""
    return RowArray(f"{STORE}/{split}", (3, size), "<f4", ("channel", "rank"), samples_per_shard)


def metadata(entries: dict[str, int], size: int, samples_per_shard: int) -> dict[str, bytes]:
    """Returns the store's ``zarr.json`` files. ``entries``: number of output positions of each split."""
    attributes = {
        "what": "singular values of each colour channel of the image in [0, 1], descending",
        "row": "output position; NaN where the image was rejected",
        "error": "at most 1.5e-8 sqrt(min(h, w)) of the largest singular value, plus float32 rounding",
    }
    arrays = {array(split, size, samples_per_shard): count for split, count in entries.items()}
    return zarr_rows.metadata(STORE, attributes, arrays)
