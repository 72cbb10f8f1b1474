"""``manifest.json`` read as a claim to be proven: its shape, its names, and whether it agrees with itself."""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import metadata
from pipeline.errors import PipelineError
from pipeline.geometry import MAX_SIDE, Geometry
from pipeline.proof.claims import (
    FACTORS,
    FACTORS_ALLOWED,
    MAX_PIXELS,
    NAME,
    OFFSET,
    REJECTS,
    SPECTRA,
    Factors,
    FileClaim,
    Manifest,
    ShardSet,
    Split,
    Variant,
    index_file,
    samples_file,
)
from pipeline.proof.faults import Faults, shown

# The contract of the format that this proof knows.
FORMAT = 1
NUMERICS = {
    "contract": 1,
    "low": "clip(rint(255 A_k), 0, 255)",
    "high": f"clip(X - rint(255 A_k) + {OFFSET}, 0, 255)",
    "high_offset": OFFSET,
    "high_scale": "1/255",
    "exact_low": "A_k, float32",
    "exact_high": "X / 255 - A_k, float32, no offset",
}
FURTHER = {
    "band": f"clip(rint(255 A_b) - rint(255 A_a) + {OFFSET}, 0, 255)",
    "lowpass": "clip(rint(255 F_r), 0, 255), F_r of the frequencies u^2 + v^2 <= r^2",
    "highpass": f"clip(X - rint(255 F_r) + {OFFSET}, 0, 255)",
}  # where there are such variants
LARGEST = 1 << 63  # what NumPy and file systems take
_NUMBER = "([1-9][0-9]{0,5})"
MAX_BYTES = 1 << 29  # of a manifest; one of ImageNet with eight variants has 7 MB


def load(root: Path, faults: Faults) -> Manifest:
    """Read the manifest of an output.

    Args:
        faults: where it contradicts itself.

    Raises:
        PipelineError: there is no output, it is not finished, or its manifest cannot be understood.
    """
    raw = read_raw(root)
    try:
        manifest = _parse(root, raw)
        _compare(raw, manifest, faults)
    except _Damaged as error:
        raise PipelineError(f"{root / NAME} is damaged: {error}") from None
    return manifest


def compare_clients(root: Path, faults: Faults) -> None:
    """Cards and client files are made from the manifest alone, classes, counts, means and all: make them once more."""
    raw = read_raw(root)
    try:
        made = metadata.files(raw)
    except Exception as error:
        faults.add(NAME, f"is damaged: the clients' files cannot be made from it ({type(error).__name__})")
        return
    others = [
        name
        for name, content in made.items()
        if raw["files"].get(name, {}).get("sha256") != hashlib.sha256(content).hexdigest()
    ]
    if others:
        faults.add(NAME, f"says other things than {others[0]} ({len(others)} such files), which is made from it")


def read_raw(root: Path) -> dict[str, Any]:
    path = root / NAME
    try:
        if not root.is_dir():
            raise PipelineError(
                f"{root} {'is a file, not the folder of an output' if root.exists() else 'does not exist'}"
            )
        if not path.is_file():
            raise PipelineError(
                f"{root} has no {NAME}: it is no output, or an unfinished one; build it to its end first"
            )
        if path.stat().st_size > MAX_BYTES:
            raise PipelineError(f"{path} is damaged: {path.stat().st_size:,} bytes are more than a manifest can have")
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise PipelineError(f"{path} is damaged: nested too deeply") from None
    except ValueError as error:
        raise PipelineError(f"{path} is damaged, it is no JSON: {shown(error)}") from None
    if not isinstance(raw, dict):
        raise PipelineError(f"{path} is damaged: it describes nothing")
    if raw.get("format") != FORMAT:
        raise PipelineError(f"{path} has format {shown(raw.get('format'))}; this program proves format {FORMAT}")
    return raw


class _Damaged(Exception):
    """The manifest is not what a builder writes; the text says where."""


def _get(where: dict[str, Any], key: str, kind: type[Any], of: str = "") -> Any:
    """A field of the wanted type; whole numbers are never negative, and below ``LARGEST``."""
    value = where.get(key)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < LARGEST):
        raise _Damaged(f"{shown(of)}{shown(key)} is {'missing' if key not in where else 'no ' + _KINDS[kind]}")
    return value


_KINDS = {int: "whole number", str: "text", dict: "object", list: "list", float: "number"}


def _parse(root: Path, raw: dict[str, Any]) -> Manifest:
    job, source, image = (_get(raw, key, dict) for key in ("job", "source", "image"))
    name = _safe(_get(raw, "name", str))
    variants = tuple(_variant(name, key, value) for key, value in _objects(raw, "variants"))
    splits = {_plain(key): _split(value, key) for key, value in _objects(raw, "splits")}
    per_shard = _get(job, "samples_per_shard", int)
    if not (per_shard and variants and splits):
        raise _Damaged("it has no variants, no splits or no samples_per_shard")
    return Manifest(
        root=root,
        name=name,
        dataset=_get(raw, "dataset", str),
        fingerprint=_get(source, "fingerprint", str),
        shape=_shape(image),
        side=_get(image, "side", int),
        geometry=_geometry(_get(image, "geometry", dict)),
        classes=len(_get(raw, "classes", list)),
        order=_get(job, "order", str),
        samples_per_shard=per_shard,
        splits=splits,
        variants=variants,
        shards=tuple(_shards(raw, name, variants, splits, per_shard)),
        files={_safe(key): _claim(value, key) for key, value in _objects(raw, "files")},
        factors=_factors(raw),
    )


def _shape(image: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width), or None where both are null: then images differ in size."""
    if image.get("height", 0) is None and image.get("width", 0) is None:
        return None
    height, width = _get(image, "height", int), _get(image, "width", int)
    if not 0 < height * width <= MAX_PIXELS:
        raise _Damaged(f"images of {height} x {width} pixels")
    return height, width


def _geometry(raw: dict[str, Any]) -> Geometry:
    sizes = [None if raw.get(key, 0) is None else _get(raw, key, int, "geometry ") for key in ("resize", "crop")]
    if any(size is not None and not 0 < size <= MAX_SIDE for size in sizes) or (sizes[1] or 0) > (sizes[0] or 0):
        raise _Damaged(f"images resized to {sizes[0]} and cropped to {sizes[1]}")
    return Geometry(*sizes)


def _factors(raw: dict[str, Any]) -> Factors | None:
    if raw.get("factors", 0) is None:
        return None
    told = _get(raw, "factors", dict)
    claim = Factors(_get(told, "rank", int, "factors "), _get(told, "dtype", str, "factors "))
    if claim.dtype not in FACTORS_ALLOWED or told.get("store") != FACTORS or not 0 < claim.rank <= MAX_SIDE:
        raise _Damaged("its factors are of an unknown kind")
    return claim


def _objects(raw: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    inside = _get(raw, key, dict)
    return [(name, _get(inside, name, dict, f"{key} ")) for name in inside]


def _variant(name: str, key: str, raw: dict[str, Any]) -> Variant:
    match = re.fullmatch(rf"(full)|(?:(rank|highrank|lowpass|highpass)|(band){_NUMBER}-){_NUMBER}(-exact)?", key)
    if not match or (match[3] and int(match[4]) >= int(match[5])):
        raise _Damaged(f"unknown variant {shown(key)}")
    prefix = match[1] or match[2] or match[3]
    component = {"rank": "low", "highrank": "high"}.get(prefix, prefix)
    number, above = int(match[5] or 0), int(match[4] or 0)
    rank, radius = (0, number) if component in ("lowpass", "highpass") else (number, 0)
    folder, form = _safe(_get(raw, "folder", str, f"{key} ")), "npy" if match[6] else "png"
    numbers = tuple(raw.get(size, 0) for size in ("rank", "above", "radius"))
    told = (raw.get("component"), raw.get("form"), numbers, folder)
    if told != (component, form, (rank, above, radius), f"{name}-{key}"):
        raise _Damaged(f"variant {key} has another component, form, rank or folder than its name says")
    return Variant(key, component, rank, folder, form, above, radius)


def _split(raw: dict[str, Any], name: str) -> Split:
    return Split(*(_get(raw, key, int, f"split {name} ") for key in ("entries", "samples", "rejects")))


def _claim(raw: dict[str, Any], name: str) -> FileClaim:
    digest = _get(raw, "sha256", str, f"{name} ")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise _Damaged(f"the sha256 of {shown(name)} is none")
    return FileClaim(_get(raw, "bytes", int, f"{name} "), digest)


def _safe(name: str) -> str:
    """A file's name, if it is a relative path that stays in the output."""
    plain = name.isprintable() and name.isascii() and "\\" not in name
    if not plain or str(PurePosixPath(name)) != name or name.startswith("/") or {"", ".", ".."} & {*name.split("/")}:
        raise _Damaged(f"it names {shown(ascii(name))}, which is no place in the output")
    return name


def _plain(name: str) -> str:
    if "/" in _safe(name):
        raise _Damaged(f"a split is called {name!a}")
    return name


def _shards(
    raw: dict[str, Any], name: str, variants: tuple[Variant, ...], splits: dict[str, Split], per_shard: int
) -> list[ShardSet]:
    """The shards that every variant must have, checked against those that each one lists."""
    listed = {
        (variant.name, split): _get(
            _get(_get(raw["variants"][variant.name], "splits", dict), split, dict), "shards", list
        )
        for variant in variants
        for split in splits
    }
    shards = []
    for split, counts in splits.items():
        wanted = -(-counts.entries // per_shard)
        for variant in variants:
            if len(listed[variant.name, split]) != wanted:
                has = len(listed[variant.name, split])
                raise _Damaged(
                    f"variant {variant.name} lists {has} shards of {split}, {counts.entries} entries make {wanted}"
                )
        for number in range(wanted):
            start, stop = number * per_shard, min((number + 1) * per_shard, counts.entries)
            tars, samples = {}, {}
            for variant in variants:
                entry = listed[variant.name, split][number]
                if not isinstance(entry, dict):
                    raise _Damaged(f"a shard of {variant.name} is no object")
                tar = _safe(_get(entry, "name", str, "shard "))
                if tar != f"{variant.folder}/{variant.folder}-{split}-{number:06d}.tar":
                    raise _Damaged(f"shard {number} of {variant.name} {split} is called {shown(tar)}")
                if (entry.get("start"), entry.get("stop")) != (start, stop):
                    raise _Damaged(f"{tar} does not range from {start} to {stop}")
                tars[variant.name], samples[variant.name] = tar, _get(entry, "samples", int, f"{tar} ")
            shards.append(ShardSet(split, number, start, stop, tars, samples))
    return shards


def _compare(raw: dict[str, Any], manifest: Manifest, faults: Faults) -> None:
    """What the manifest says twice must be the same, and every file that an output needs must be claimed."""
    numerics = raw.get("numerics")
    if not isinstance(numerics, dict) or numerics.get("high_offset") != OFFSET:
        faults.add(NAME, f"the offset of high-rank-only images is not {OFFSET}")
    elif numerics != NUMERICS | {
        v.component: FURTHER[v.component] for v in manifest.variants if v.component in FURTHER
    }:
        faults.add(NAME, "numerics is not the contract that is proven here")
    limit = raw["job"].get("limit")
    if limit is not None and (
        type(limit) is not int or any(split.entries > limit for split in manifest.splits.values())
    ):
        faults.add(NAME, f"job.limit is {shown(limit)}, but a split has more entries")
    if raw["job"].get("variants") != [variant.name for variant in manifest.variants]:
        faults.add(NAME, "job.variants and variants are not the same")
    if raw["job"].get("splits") != list(manifest.splits):
        faults.add(NAME, "job.splits and splits are not the same")
    needed = [REJECTS, f"{SPECTRA}/zarr.json"]
    for split, counts in manifest.splits.items():
        needed += [samples_file(split), f"{SPECTRA}/{split}/zarr.json"]
        if counts.entries != counts.samples + counts.rejects:
            faults.add(
                NAME, f"{split}: {counts.entries} entries are not {counts.samples} samples and {counts.rejects} rejects"
            )
        if raw["splits"][split].get("shards") != sum(shard.split == split for shard in manifest.shards):
            faults.add(NAME, f"{split}: its shards are not {raw['splits'][split].get('shards')!a:.20}")
        for variant in manifest.variants:
            if list(raw["variants"][variant.name]["splits"]) != list(manifest.splits):
                faults.add(NAME, f"variant {variant.name} has other splits than the output")
            _compare_totals(raw["variants"][variant.name]["splits"][split], variant, split, manifest, faults)
    if manifest.factors:
        arrays = [f"/{split}/{part}" for split in manifest.splits for part in "usv"]
        needed += [f"{FACTORS}{array}/zarr.json" for array in ["", *arrays]]
    for shard in manifest.shards:
        needed += [name for tar in shard.tars.values() for name in (tar, index_file(tar))]
    for name in needed:
        if name not in manifest.files:
            faults.add(NAME, f"files has no {name}")


def _compare_totals(raw: dict[str, Any], variant: Variant, split: str, manifest: Manifest, faults: Faults) -> None:
    of, shards = f"{variant.name} {split}: ", raw["shards"]
    samples = _get(raw, "samples", int, of)
    if samples != manifest.splits[split].samples or samples != sum(shard["samples"] for shard in shards):
        summed = sum(shard["samples"] for shard in shards)
        faults.add(NAME, f"{of}{samples} samples, {manifest.splits[split].samples} in splits, {summed} in its shards")
    if _get(raw, "bytes", int, of) != sum(_get(shard, "bytes", int, of) for shard in shards):
        faults.add(NAME, f"{of}bytes are not the sum over its shards")
    subpixels, shape = _get(raw, "subpixels", int, of), manifest.shape
    if shape is not None and subpixels != 3 * samples * shape[0] * shape[1]:
        faults.add(NAME, f"{of}subpixels are not 3 for each pixel of its samples")
    for shard in shards:
        claim = manifest.files.get(shard["name"])
        if claim is not None and claim != (shard["bytes"], shard.get("sha256")):
            faults.add(NAME, f"files and variants say different bytes or sha256 of {shard['name']}")
