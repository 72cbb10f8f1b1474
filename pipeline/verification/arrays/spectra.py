"""Reads and checks ``spectra.zarr`` and ``factors.zarr``: a row for every sample, NaN for every reject."""

import math

import numpy as np

from pipeline.verification.arrays.reference import CHANNELS
from pipeline.verification.arrays.zarr_rows import BadRows, check_group, read
from pipeline.verification.faults import Faults
from pipeline.verification.listings import Sample
from pipeline.verification.manifest.claims import FACTORS, NAME, SPECTRA, Factors, Manifest, ShardSet

# Errors that the format allows, relative to sigma_1 and to the value itself.
OF_FIRST, OF_VALUE = 1.5e-8, 1e-6


def rows(manifest: Manifest, shard: ShardSet) -> np.ndarray:
    """Returns the rows of a shard's output positions, float32 (n, 3, side). Raises BadRows."""
    shape = (manifest.splits[shard.split].entries, 3, manifest.side)
    return read(manifest, f"{SPECTRA}/{shard.split}", shape, "float32", shard.start, shard.stop)


def factors_row(manifest: Manifest, claim: Factors, split: str, position: int) -> dict[str, np.ndarray]:
    """Returns ``u`` (3, h, K), ``s`` (3, K) and ``v`` (3, w, K) of an output position. Raises BadRows."""
    if manifest.shape is None:
        raise BadRows(NAME, "factors of images that differ in size")
    entries, (height, width) = manifest.splits[split].entries, manifest.shape
    sides = {"u": (height, claim.rank), "s": (claim.rank,), "v": (width, claim.rank)}
    dtypes = {"u": claim.dtype, "s": "float32", "v": claim.dtype}
    return {
        name: read(manifest, f"{FACTORS}/{split}/{name}", (entries, 3, *side), dtypes[name], position, position + 1)[0]
        for name, side in sides.items()
    }


def check_groups(manifest: Manifest, faults: Faults) -> None:
    """Reports stores and groups of arrays whose description has further fields."""
    stores = [SPECTRA, *([FACTORS, *(f"{FACTORS}/{split}" for split in manifest.splits)] if manifest.factors else [])]
    for store in stores:
        try:
            check_group(manifest, f"{store}/zarr.json")
        except BadRows as error:
            if error.claimed:  # otherwise it is reported with all files
                faults.add(error.file, str(error))


def files_of(manifest: Manifest, shard: ShardSet) -> list[str]:
    """Returns the claimed files that hold a shard's rows, and the descriptions of their arrays."""
    arrays: dict[str, tuple[int, ...]] = {f"{SPECTRA}/{shard.split}": (4, 3, manifest.side)}
    if manifest.factors and manifest.shape:
        rank, dtype = manifest.factors
        for name, side in {"u": (manifest.shape[0], rank), "s": (rank,), "v": (manifest.shape[1], rank)}.items():
            item = np.dtype("float32" if name == "s" else dtype).itemsize
            arrays[f"{FACTORS}/{shard.split}/{name}"] = (item, 3, *side)
    files = []
    for path, row in arrays.items():
        ending = ".0" * (len(row) - 1)
        first = manifest.files.get(f"{path}/c.0{ending}")
        rows = max(1, first.size // math.prod(row)) if first else manifest.samples_per_shard
        files += [f"{path}/c.{n}{ending}" for n in range(shard.start // rows, -(-shard.stop // rows))]
        files.append(f"{path}/zarr.json")
    return [name for name in files if name in manifest.files]


def check_rows(manifest: Manifest, values: np.ndarray, shard: ShardSet, expected: list[Sample], faults: Faults) -> None:
    """Reports samples without finite, descending singular values of at least 0, and rejects without NaN.

    If images differ in size, a row may end in NaN.
    """
    name = f"{SPECTRA}/{shard.split}"
    places = [sample.position - shard.start for sample in expected]
    rejected = np.ones(len(values), bool)
    rejected[places] = False
    if not np.isnan(values[rejected]).all():
        faults.add(name, f"rows {shard.start} to {shard.stop}: a rejected image has singular values")
    stored = values[places]
    if manifest.shape is None:  # NaN may stand at the end, where it counts as zero
        ended = np.isnan(stored)
        at_the_end = (ended[..., 1:] >= ended[..., :-1]).all(axis=(1, 2)) & ~ended[..., 0].any(axis=1)
        stored = np.where(ended & at_the_end[:, None, None], 0, stored)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(stored).all(axis=(1, 2)) & (stored >= 0).all(axis=(1, 2))
        good &= (stored[..., :-1] >= stored[..., 1:]).all(axis=(1, 2))
    for place in np.flatnonzero(~good):
        sample = expected[place]
        faults.add(name, f"{sample.key}: row {sample.position} holds no descending singular values")


def compare_row(row: np.ndarray, reference: np.ndarray) -> str:
    """Returns what is wrong with a sample's row, or an empty string.

    Args:
        row: float32 (3, side).
        reference: float64 (3, n), n <= side.
    """
    if not np.isnan(row[:, reference.shape[1] :]).all():
        return f"more than {reference.shape[1]} singular values"
    row = row[:, : reference.shape[1]]
    of_first = OF_FIRST * math.sqrt(reference.shape[1]) * reference[:, :1]
    allowed = of_first + OF_VALUE * reference
    wrong = ~(np.abs(row.astype(np.float64) - reference) <= allowed)  # so that NaN is wrong
    if not wrong.any():
        return ""
    channel, place = np.argwhere(wrong)[0]
    return (
        f"singular value {place + 1} of {CHANNELS[channel]} is {row[channel, place]:.6g}, "
        f"should be {reference[channel, place]:.6g}"
    )
