"""``manifest.json``: the description of a finished output, from the shard records alone.

It holds no time, host, user or path: two builds of the same job write the same bytes.
"""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import PipelineError
from pipeline.formats import factors, pixel_digest, spectra
from pipeline.formats.sample_key import sample_key
from pipeline.numerics.statistics import FINE, Statistics
from pipeline.numerics.variants import OFFSET, Variant
from pipeline.planning.output_spec import ENCODER, FORMAT, NUMERICS, Content
from pipeline.planning.plan import Plan, Shard, folder
from pipeline.planning.record import Record, VariantRecord

NAME = "manifest.json"
REJECTS = "rejects.jsonl"
_LINES = 1 << 14  # of samples, written at once


def to_json(document: Mapping[str, Any]) -> bytes:
    """Returns the bytes of ``manifest.json``."""
    return json.dumps(document, indent=1).encode() + b"\n"


def describe(plan: Plan, records: Mapping[Shard, Record]) -> dict[str, Any]:
    """Returns the manifest without the list of files.

    Args:
        records: the record of every shard of the plan.

    Raises:
        PipelineError: entries and samples plus rejects do not add up.
    """
    content, index = plan.content, plan.index
    splits = {split: _split(plan, records, split) for split in content.splits}
    return {
        "format": FORMAT,
        "name": content.name,
        "dataset": content.dataset,
        "source": {
            "title": index.title,
            "terms": index.terms,
            "note": index.note,
            "fingerprint": content.fingerprint,
            "checksums_verified": content.verified,
        },
        "job": {
            "variants": [variant.name for variant in content.variants],
            "splits": list(content.splits),
            "limit": content.limit,
            "order": content.order,
            "seed": content.seed,
            "samples_per_shard": content.samples_per_shard,
        },
        "image": _image(content),
        "numerics": _numerics(content),
        "versions": _versions(records.values()),
        "classes": index.classes,
        "splits": splits,
        "factors": _factors(content),
        "variants": {variant.name: _variant(plan, records, variant) for variant in content.variants},
    }


def _numerics(content: Content) -> dict[str, Any]:
    """Returns the formula of each component's pixels. Bands and Fourier cuts are listed only if the output has them."""
    formulas: dict[str, Any] = {
        "contract": NUMERICS,
        "low": "clip(rint(255 A_k), 0, 255)",
        "high": f"clip(X - rint(255 A_k) + {OFFSET}, 0, 255)",
        "high_offset": OFFSET,
        "high_scale": "1/255",
        "exact_low": "A_k, float32",
        "exact_high": "X / 255 - A_k, float32, no offset",
    }
    further = {
        "band": f"clip(rint(255 A_b) - rint(255 A_a) + {OFFSET}, 0, 255)",
        "lowpass": "clip(rint(255 F_r), 0, 255), F_r of the frequencies u^2 + v^2 <= r^2",
        "highpass": f"clip(X - rint(255 F_r) + {OFFSET}, 0, 255)",
    }
    components = {variant.component for variant in content.variants}
    return formulas | {name: formula for name, formula in further.items() if name in components}


def _image(content: Content) -> dict[str, Any]:
    """Returns sizes in pixels. Height and width are null if images differ; ``side`` is the largest min(height, width)."""
    height, width = content.shape or (None, None)
    geometry = {"resize": content.geometry.resize, "crop": content.geometry.crop}
    return {"height": height, "width": width, "side": content.side, "geometry": geometry, "encoder": ENCODER}


def _factors(content: Content) -> dict[str, Any] | None:
    if content.factors is None:
        return None
    rank, dtype = content.factors.rank, content.factors.dtype
    return {"store": factors.STORE, "rank": rank, "dtype": dtype, "error": factors.ERRORS[dtype]}


def rejects(plan: Plan, records: Mapping[Shard, Record]) -> bytes:
    """Returns ``rejects.jsonl``: the entries that are not in the output, with the reasons."""
    lines = [
        {
            "key": sample_key(reject.split, reject.index),
            "position": reject.position,
            "name": reject.name,
            "reason": reject.reason,
        }
        for shard in plan.shards
        for reject in records[shard].rejects
    ]
    return _lines(lines)


def samples(plan: Plan, split: str) -> bytes:
    """Returns ``samples/<split>.jsonl``: key, label and original name of every output position, rejects included."""
    index, positions = plan.index.splits[split], plan.positions[split]
    simple, lines = index.names.simple(), io.BytesIO()
    for start in range(0, len(positions), _LINES):
        rows = positions[start : start + _LINES]
        names = index.names.take(rows)
        texts = (f'"{name}"' for name in names) if simple else (json.dumps(name) for name in names)
        for i, label, text in zip(rows.tolist(), index.labels[rows].tolist(), texts, strict=True):
            lines.write(f'{{"key": "{sample_key(split, i)}", "label": {label}, "name": {text}}}\n'.encode())
    return lines.getvalue()


def _split(plan: Plan, records: Mapping[Shard, Record], split: str) -> dict[str, Any]:
    shards = [shard for shard in plan.shards if shard.split == split]
    entries = len(plan.positions[split])
    samples = sum(records[shard].samples for shard in shards)
    rejects = sum(len(records[shard].rejects) for shard in shards)
    if entries != samples + rejects:
        raise PipelineError(f"split {split}: {entries} entries in, but {samples} samples and {rejects} rejects out")
    converted: Counter[str] = Counter()
    for shard in shards:
        converted.update(records[shard].converted)
    counts = {"entries": entries, "samples": samples, "rejects": rejects, "shards": len(shards)}
    return counts | {"converted": dict(sorted(converted.items()))}


def _variant(plan: Plan, records: Mapping[Shard, Record], variant: Variant) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "component": variant.component,
        "form": variant.form,
        "folder": folder(plan.content, variant),
    }
    if variant.above:
        fields["above"] = variant.above
    if variant.radius:
        fields["radius"] = variant.radius
    if variant.rank:
        fields["rank"] = variant.rank
        fields["relative_rank"] = variant.rank / min(plan.content.shape) if plan.content.shape else None
    fields["splits"] = {
        split: _variant_split(plan, records, variant, [shard for shard in plan.shards if shard.split == split])
        for split in plan.content.splits
    }
    return fields


def _variant_split(
    plan: Plan, records: Mapping[Shard, Record], variant: Variant, shards: list[Shard]
) -> dict[str, Any]:
    variant_records: list[VariantRecord] = [records[shard].variants[variant.name] for shard in shards]
    total = sum((record.statistics for record in variant_records), Statistics())
    pixels = sum(records[shard].pixels for shard in shards)
    unit = (FINE if variant.exact else 1) / max(1, pixels)
    mean = [s * unit / 255 for s in total.sums]
    square = [s * unit / 255**2 for s in total.squares]
    return {
        "samples": sum(records[shard].samples for shard in shards),
        "bytes": sum(record.tar.size for record in variant_records),
        "subpixels": 3 * pixels,
        "clipped": total.clipped,
        "near_ties": total.ties,
        "degenerate_planes": total.degenerate,
        "deficient_planes": total.deficient,
        "recomputed_planes": total.recomputed,
        "mean": mean,
        "std": [math.sqrt(max(0.0, s - m * m)) for s, m in zip(square, mean, strict=True)],
        "pixel_digest": pixel_digest.total(record.pixel_digest for record in variant_records),
        "shards": [
            {
                "name": record.tar.name,
                "bytes": record.tar.size,
                "sha256": record.tar.sha256,
                "pixel_digest": record.pixel_digest,
                "start": shard.start,
                "stop": shard.stop,
                "samples": records[shard].samples,
            }
            for shard, record in zip(shards, variant_records, strict=True)
        ],
    }


def _versions(records: Iterable[Record]) -> list[dict[str, str]]:
    """Returns the distinct sets of library versions; more than one if a build was resumed after an upgrade."""
    variants = (variant for record in records for variant in record.variants.values())
    distinct = {json.dumps(variant.versions, sort_keys=True) for variant in variants}
    return [json.loads(versions) for versions in sorted(distinct)]


def committed(plan: Plan, records: Mapping[Shard, Record]) -> dict[str, tuple[int, str]]:
    """Returns bytes and SHA-256 of every file that tasks have published, by name."""
    files: dict[str, tuple[int, str]] = {}
    for record in records.values():
        published = [*record.spectra, *record.factors]
        for variant in plan.content.variants:
            published += [record.variants[variant.name].tar, record.variants[variant.name].index]
        files |= {file.name: (file.size, file.sha256) for file in published}
    return files


def array_files(plan: Plan) -> dict[str, bytes]:
    """Returns the ``zarr.json`` files of the stores whose chunks tasks have written."""
    content, entries = plan.content, {split: len(positions) for split, positions in plan.positions.items()}
    files = spectra.metadata(entries, content.side, content.samples_per_shard)
    if content.factors and content.shape:
        files |= content.factors.metadata(entries, content.shape, content.samples_per_shard)
    return files


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
