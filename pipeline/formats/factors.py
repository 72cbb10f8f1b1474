"""``factors.zarr``: the largest singular triplets of every image. A reader computes any lower rank from them.

One group per split with the arrays ``u``, ``s`` and ``v``. Rows: (3, h, K), (3, K) and (3, w, K), of the image in [0, 1].
Channel c at rank k <= K is u[c, :, :k] * s[c, :k] @ v[c, :, :k].T (paper eq. 2).
"""

from dataclasses import dataclass

from pipeline.formats import zarr_rows
from pipeline.formats.zarr_rows import RowArray

STORE = "factors.zarr"
DTYPES = {"float32": "<f4", "float16": "<f2"}
# Error of a subpixel of A_k, for any k up to K.
ERRORS = {"float32": "at most 0.001 grey levels", "float16": "below 0.5 grey levels on photographs, 0.03 on average"}


@dataclass(frozen=True)
class Factors:
    """The factors that an output stores: triplets up to ``rank``; ``u`` and ``v`` in ``dtype``, ``s`` always in float32."""

    rank: int
    dtype: str = "float32"

    def arrays(self, split: str, shape: tuple[int, int], samples_per_shard: int) -> dict[str, RowArray]:
        """Returns the arrays ``u``, ``s`` and ``v`` of a split. ``shape``: (height, width) of the images."""
        sides = {"u": (shape[0], self.rank), "s": (self.rank,), "v": (shape[1], self.rank)}
        axes = {"u": ("channel", "row", "rank"), "s": ("channel", "rank"), "v": ("channel", "column", "rank")}
        return {
            name: RowArray(
                f"{STORE}/{split}/{name}",
                (3, *side),
                DTYPES["float32" if name == "s" else self.dtype],
                axes[name],
                samples_per_shard,
            )
            for name, side in sides.items()
        }

    def metadata(self, entries: dict[str, int], shape: tuple[int, int], samples_per_shard: int) -> dict[str, bytes]:
        """Returns the store's ``zarr.json`` files. ``entries``: number of output positions of each split."""
        attributes = {
            "what": "A_k = u[..., :k] * s[..., None, :k] @ v[..., :k].T of each colour channel of the image in [0, 1]",
            "row": "output position; NaN where the image was rejected",
            "error": ERRORS[self.dtype],
        }
        arrays: dict[RowArray, int] = {}
        for split, count in entries.items():
            arrays |= dict.fromkeys(self.arrays(split, shape, samples_per_shard).values(), count)
        return zarr_rows.metadata(STORE, attributes, arrays)
