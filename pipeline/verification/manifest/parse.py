"""Parses ``manifest.json``: every field has the type that a build writes, and every name is a path inside the output."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.numerics.geometry import MAX_SIDE, Geometry
from pipeline.verification.faults import printable
from pipeline.verification.manifest.claims import (
    FACTORS,
    FACTORS_ROUNDING,
    MAX_PIXELS,
    Factors,
    FileClaim,
    Manifest,
    ShardSet,
    Split,
    Variant,
)

LARGEST = 1 << 63  # the limit of NumPy and of file systems
_NUMBER = "([1-9][0-9]{0,5})"


class Damaged(Exception):
    """The manifest is not one that a build writes; the text says where."""


def get(where: dict[str, Any], key: str, kind: type[Any], of: str = "") -> Any:
    """Returns a field of a type; whole numbers must not be negative, and be below ``LARGEST``. Raises Damaged."""
    value = where.get(key)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < LARGEST):
        raise Damaged(f"{printable(of)}{printable(key)} is {'missing' if key not in where else 'no ' + _KINDS[kind]}")
    return value


_KINDS = {int: "whole number", str: "text", dict: "object", list: "list", float: "number"}


def parse(root: Path, raw: dict[str, Any]) -> Manifest:
    """Returns the claims of a manifest. Raises Damaged."""
    job, source, image = (get(raw, key, dict) for key in ("job", "source", "image"))
    name = _safe(get(raw, "name", str))
    variants = tuple(_variant(name, key, value) for key, value in _objects(raw, "variants"))
    splits = {_plain(key): _split(value, key) for key, value in _objects(raw, "splits")}
    per_shard = get(job, "samples_per_shard", int)
    if not (per_shard and variants and splits):
        raise Damaged("it has no variants, no splits or no samples_per_shard")
    shape, side, factors = _shape(image), get(image, "side", int), _factors(raw)
    if not 0 < side <= (min(shape) if shape else MAX_SIDE) or (shape and factors and factors.rank > min(shape)):
        raise Damaged("the side of its images or the rank of its factors is none that such images have")
    return Manifest(
        root=root,
        name=name,
        dataset=get(raw, "dataset", str),
        fingerprint=get(source, "fingerprint", str),
        shape=shape,
        side=side,
        geometry=_geometry(get(image, "geometry", dict)),
        classes=len(get(raw, "classes", list)),
        order=get(job, "order", str),
        seed=get(job, "seed", int),
        samples_per_shard=per_shard,
        splits=splits,
        variants=variants,
        shards=tuple(_shards(raw, name, variants, splits, per_shard)),
        files={_safe(key): _claim(value, key) for key, value in _objects(raw, "files")},
        factors=factors,
    )


def _shape(image: dict[str, Any]) -> tuple[int, int] | None:
    """Returns (height, width), or None if both are null: then the images differ in size."""
    if image.get("height", 0) is None and image.get("width", 0) is None:
        return None
    height, width = get(image, "height", int), get(image, "width", int)
    if not 0 < height * width <= MAX_PIXELS:
        raise Damaged(f"images of {height} x {width} pixels")
    return height, width


def _geometry(raw: dict[str, Any]) -> Geometry:
    sizes = [None if raw.get(key, 0) is None else get(raw, key, int, "geometry ") for key in ("resize", "crop")]
    if any(size is not None and not 0 < size <= MAX_SIDE for size in sizes) or (sizes[1] or 0) > (sizes[0] or 0):
        raise Damaged(f"images resized to {sizes[0]} and cropped to {sizes[1]}")
    return Geometry(*sizes)


def _factors(raw: dict[str, Any]) -> Factors | None:
    if raw.get("factors", 0) is None:
        return None
    described = get(raw, "factors", dict)
    claim = Factors(get(described, "rank", int, "factors "), get(described, "dtype", str, "factors "))
    if claim.dtype not in FACTORS_ROUNDING or described.get("store") != FACTORS or not 0 < claim.rank <= MAX_SIDE:
        raise Damaged("its factors are of an unknown kind")
    return claim


def _objects(raw: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    inside = get(raw, key, dict)
    return [(name, get(inside, name, dict, f"{key} ")) for name in inside]


def _variant(name: str, key: str, raw: dict[str, Any]) -> Variant:
    match = re.fullmatch(rf"(full)|(?:(rank|highrank|lowpass|highpass)|(band){_NUMBER}-){_NUMBER}(-exact)?", key)
    if not match or (match[3] and int(match[4]) >= int(match[5])):
        raise Damaged(f"unknown variant {printable(key)}")
    prefix = match[1] or match[2] or match[3]
    component = {"rank": "low", "highrank": "high"}.get(prefix, prefix)
    number, above = int(match[5] or 0), int(match[4] or 0)
    rank, radius = (0, number) if component in ("lowpass", "highpass") else (number, 0)
    folder, form = _safe(get(raw, "folder", str, f"{key} ")), "npy" if match[6] else "png"
    numbers = tuple(raw.get(size, 0) for size in ("rank", "above", "radius"))
    described = (raw.get("component"), raw.get("form"), numbers, folder)
    if described != (component, form, (rank, above, radius), f"{name}-{key}"):
        raise Damaged(f"variant {key} has another component, form, rank or folder than its name says")
    return Variant(key, component, rank, folder, form, above, radius)


def _split(raw: dict[str, Any], name: str) -> Split:
    return Split(*(get(raw, key, int, f"split {name} ") for key in ("entries", "samples", "rejects")))


def _claim(raw: dict[str, Any], name: str) -> FileClaim:
    digest = get(raw, "sha256", str, f"{name} ")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Damaged(f"the sha256 of {printable(name)} is none")
    return FileClaim(get(raw, "bytes", int, f"{name} "), digest)


def pixel_digest(where: dict[str, Any], of: str) -> str:
    """Returns the pixel digest of a shard or a split. Raises Damaged."""
    digest: str = get(where, "pixel_digest", str, of)
    if not re.fullmatch("[0-9a-f]{32}", digest):
        raise Damaged(f"{printable(of)}pixel_digest is not 32 hexadecimal digits")
    return digest


def _safe(name: str) -> str:
    """Returns a file's name, if it is a relative path inside the output. Raises Damaged."""
    plain = name.isprintable() and name.isascii() and "\\" not in name
    if not plain or str(PurePosixPath(name)) != name or name.startswith("/") or {"", ".", ".."} & {*name.split("/")}:
        raise Damaged(f"it names {printable(ascii(name))}, which is no place in the output")
    return name


def _plain(name: str) -> str:
    if "/" in _safe(name):
        raise Damaged(f"a split is called {name!a}")
    return name


def _shards(
    raw: dict[str, Any], name: str, variants: tuple[Variant, ...], splits: dict[str, Split], per_shard: int
) -> list[ShardSet]:
    """Returns the shards that every variant must have, compared with those that each variant lists."""
    listed = {
        (variant.name, split): get(get(get(raw["variants"][variant.name], "splits", dict), split, dict), "shards", list)
        for variant in variants
        for split in splits
    }
    shards = []
    for split, counts in splits.items():
        expected = -(-counts.entries // per_shard)
        for variant in variants:
            if len(listed[variant.name, split]) != expected:
                has = len(listed[variant.name, split])
                raise Damaged(
                    f"variant {variant.name} lists {has} shards of {split}, {counts.entries} entries make {expected}"
                )
        for number in range(expected):
            start, stop = number * per_shard, min((number + 1) * per_shard, counts.entries)
            tars, samples, digests = {}, {}, {}
            for variant in variants:
                entry = listed[variant.name, split][number]
                if not isinstance(entry, dict):
                    raise Damaged(f"a shard of {variant.name} is no object")
                tar = _safe(get(entry, "name", str, "shard "))
                if tar != f"{variant.folder}/{variant.folder}-{split}-{number:06d}.tar":
                    raise Damaged(f"shard {number} of {variant.name} {split} is called {printable(tar)}")
                if (entry.get("start"), entry.get("stop")) != (start, stop):
                    raise Damaged(f"{tar} does not range from {start} to {stop}")
                tars[variant.name], samples[variant.name] = tar, get(entry, "samples", int, f"{tar} ")
                if raw["format"] > 1:
                    digests[variant.name] = pixel_digest(entry, f"{tar} ")
            shards.append(ShardSet(split, number, start, stop, tars, samples, digests))
    return shards
