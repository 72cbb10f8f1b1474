"""Checks each field of a manifest: it is there, of the type that a build writes, and possible for the output's counts."""

import re
from typing import Any

from pipeline.sources import DATASETS, OBJECT
from pipeline.verification.faults import Faults, printable
from pipeline.verification.manifest.claims import FACTORS, NAME, Manifest, Variant

ORDERS = {"source", "shuffled"}
# The libraries that the pixels and, in format 1, the bytes of PNG files depend on.
LIBRARIES = {1: {"numpy", "pillow", "zlib-ng", "deflate"}, 2: {"numpy", "pillow", "numba"}}
VERSION = "[0-9][0-9A-Za-z.+!_-]{0,39}"
# The kinds of images that a build converts: its own words, or Pillow's name of the mode.
CONVERTED = {"grey", "alpha", "palette", "animated", "16-bit", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa"}
FACTORS_ERROR = {
    "float32": "at most 0.001 grey levels",
    "float16": "below 0.5 grey levels on photographs, 0.03 on average",
}
# Counts of planes, so at most three an image.
_PLANES = ("degenerate_planes", "deficient_planes", "recomputed_planes")
_LARGEST_SEED = 10**18
_KEYS = {
    "": "format name dataset source job image numerics versions classes splits factors variants files",
    "source": "title terms note fingerprint checksums_verified",
    "job": "variants splits limit order seed samples_per_shard",
    "image": "height width side geometry encoder",
    "factors": "store rank dtype error",
    "published": "repository revision url date",
}
# Of a published copy; pipeline.publish writes it.
_PUBLISHED = {
    "repository": "[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}",
    "revision": "[A-Za-z0-9._-]{1,100}",
    "url": "https?://[!-~]{1,2000}",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
}
_SPLIT = "entries samples rejects shards converted"
_OF_VARIANT = "component form folder splits"
_IN_SPLIT = f"samples bytes subpixels clipped near_ties {' '.join(_PLANES)} mean std shards"
_SHARD = "name bytes sha256 start stop samples"
_SINCE_2 = " pixel_digest"  # of these two


def compare(raw: dict[str, Any], manifest: Manifest, faults: Faults) -> None:
    """Compares every field with what a build writes.

    Args:
        raw: the JSON that ``manifest`` was parsed from.
    """
    for place, keys in _KEYS.items():
        where = raw.get(place) if place else {key: raw[key] for key in raw if key != "published"}
        if isinstance(where, dict):  # factors may be null, and published is missing in all but published copies
            _same_keys(where, keys, place, faults)
    if "published" in raw:
        _published(raw["published"], faults)
    _job(raw["job"], manifest, faults)
    _source(raw, faults)
    _versions(raw.get("versions"), LIBRARIES[raw["format"]], faults)
    crop = manifest.geometry.crop
    if crop and manifest.shape != (crop, crop):
        faults.add(NAME, f"image.geometry.crop is {crop}, which is not the size of the images")
    for split, counts in manifest.splits.items():
        _same_keys(raw["splits"][split], _SPLIT, f"splits.{split}", faults)
        _converted(raw["splits"][split].get("converted"), split, counts.samples, faults)
    for variant in manifest.variants:
        _variant(raw["variants"][variant.name], variant, manifest, faults)
    if manifest.factors and raw["factors"].get("error") != FACTORS_ERROR[manifest.factors.dtype]:
        faults.add(NAME, f"factors.error is {printable(raw['factors'].get('error'), 40)}")
    if not manifest.factors and any(name.startswith(f"{FACTORS}/") for name in manifest.files):
        faults.add(NAME, f"factors is null, and files has {FACTORS}")


def _job(job: dict[str, Any], manifest: Manifest, faults: Faults) -> None:
    limit, order, seed = (job.get(key) for key in ("limit", "order", "seed"))
    if limit is not None and (type(limit) is not int or limit < 1):
        faults.add(NAME, f"job.limit is {printable(limit, 40)}, which is no limit")
    elif limit is not None and any(split.entries > limit for split in manifest.splits.values()):
        faults.add(NAME, f"job.limit is {limit}, but a split has more entries")
    if order not in ORDERS:
        faults.add(NAME, f"job.order is {printable(order, 40)}, which is none")
    if type(seed) is not int or not 0 <= seed < _LARGEST_SEED or (seed and order == "source"):
        faults.add(NAME, f"job.seed is {printable(seed, 40)}, which no build of this order has")
    if job.get("variants") != [variant.name for variant in manifest.variants]:
        faults.add(NAME, "job.variants and variants are not the same")
    if job.get("splits") != list(manifest.splits):
        faults.add(NAME, "job.splits and splits are not the same")


def _source(raw: dict[str, Any], faults: Faults) -> None:
    source, encoder, verified = raw["source"], raw["image"].get("encoder"), raw["source"].get("checksums_verified")
    if raw["dataset"] not in (*DATASETS, OBJECT):
        faults.add(NAME, f"dataset is {printable(raw['dataset'], 40)}, which is none")
    if not all(isinstance(source.get(key), str) for key in ("title", "terms", "note")):
        faults.add(NAME, "source has no title, terms and note")
    if not re.fullmatch("[0-9a-f]{64}", source["fingerprint"]):
        faults.add(NAME, f"source.fingerprint is {printable(source['fingerprint'], 64)}, which is none")
    if verified is not None and type(verified) is not bool:
        faults.add(NAME, f"source.checksums_verified is {printable(verified, 40)}")
    if not isinstance(encoder, str) or not encoder.isprintable() or not encoder.strip():
        faults.add(NAME, f"image.encoder is {printable(encoder, 40)}, which is none")
    if not all(isinstance(name, str) for name in raw["classes"]):
        faults.add(NAME, "classes holds other things than names")


def _published(published: Any, faults: Faults) -> None:
    if not isinstance(published, dict):
        faults.add(NAME, "published is no description of a published copy")
        return
    for key, pattern in _PUBLISHED.items():
        if not isinstance(published.get(key), str) or not re.fullmatch(pattern, published[key]):
            faults.add(NAME, f"published.{key} is {printable(published.get(key), 40)}, which is none")


def _versions(versions: Any, expected: set[str], faults: Faults) -> None:
    """Requires sets of the libraries that make images, each with a version."""
    sets = [libraries for libraries in versions if isinstance(libraries, dict)] if isinstance(versions, list) else []
    right = [
        libraries.keys() == expected and all(re.fullmatch(VERSION, str(version)) for version in libraries.values())
        for libraries in sets
    ]
    if not sets or len(sets) != len(versions) or not all(right):
        faults.add(NAME, "versions holds others than those of the libraries that make images")


def _converted(counts: Any, split: str, samples: int, faults: Faults) -> None:
    """Requires that each sample was converted at most once, from a kind that a decoder knows."""
    if not isinstance(counts, dict) or not all(type(n) is int and 0 < n <= samples for n in counts.values()):
        faults.add(NAME, f"{split}: converted holds no numbers of images")
    elif sum(counts.values()) > samples:
        faults.add(NAME, f"{split}: {sum(counts.values()):,} images converted, there are {samples:,}")
    elif not counts.keys() <= CONVERTED:
        faults.add(
            NAME, f"{split}: images converted from {printable(min(counts.keys() - CONVERTED), 40)}, which is unknown"
        )


def _variant(raw: dict[str, Any], variant: Variant, manifest: Manifest, faults: Faults) -> None:
    of = f"variants.{variant.name}"
    sizes = [key for key, size in (("above", variant.above), ("radius", variant.radius)) if size]
    sizes += ["rank", "relative_rank"] if variant.rank else []
    _same_keys(raw, " ".join([_OF_VARIANT, *sizes]), of, faults)
    relative = variant.rank / min(manifest.shape) if manifest.shape else None
    if variant.rank and (raw.get("relative_rank", 0) != relative or isinstance(raw.get("relative_rank"), bool)):
        faults.add(NAME, f"{of}: relative_rank is {printable(raw.get('relative_rank'), 40)}")
    since_2 = _SINCE_2 if manifest.has_digests else ""
    for split in manifest.splits:
        counts = raw["splits"][split]
        _same_keys(counts, _IN_SPLIT + since_2, f"{of}.splits.{split}", faults)
        ends = 2 if variant.above else int(variant.component != "full")  # a band counts both; full has none
        planes = 3 * manifest.splits[split].samples
        bounds = {"near_ties": ends * counts["subpixels"]} | dict.fromkeys(_PLANES, ends * planes)
        for key, most in bounds.items():
            if type(counts.get(key)) is not int or not 0 <= counts[key] <= most:
                count = printable(counts.get(key), 40)
                faults.add(NAME, f"{of}.splits.{split}: {key} is {count}, of {most:,} that there can be")
        for shard in counts["shards"]:
            _same_keys(shard, _SHARD + since_2, f"a shard of {of}", faults)


def _same_keys(where: dict[str, Any], keys: str, of: str, faults: Faults) -> None:
    expected = {*keys.split()}
    for missing in sorted(expected - where.keys()):
        faults.add(NAME, f"{of or 'it'} has no {missing}")
    for unknown in sorted(where.keys() - expected):
        faults.add(NAME, f"{of or 'it'} has {printable(unknown, 40)}, which no build writes")
