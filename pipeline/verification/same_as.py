"""Compares two outputs by the pixel digests of their manifests: whether they hold the same samples, in the same order.

The files need not be the same: an output of another PNG encoder, or divided into other shards, can hold the same samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import PipelineError
from pipeline.verification.faults import Faults, counted, printable
from pipeline.verification.manifest.claims import NAME, Manifest, ShardSet, Variant, samples_file
from pipeline.verification.manifest.document import load, read_raw

_OF_EXACT = "; float32 images may differ in their last bits between processors"


class Comparison(NamedTuple):
    """The result of comparing two outputs.

    Attributes:
        other: the output that was compared.
        differences: one line each; empty if the two hold the same.
        samples: how many samples each variant has in both.
    """

    other: Path
    differences: tuple[str, ...]
    samples: int


def compare(out: Path, other: Path) -> Comparison:
    """Compares the manifests of two outputs. No other file is read.

    Raises:
        PipelineError: one of them is no finished output, its manifest contradicts itself, or it has no digests.
    """
    manifests = []
    for root in (out, other):
        faults = Faults()
        manifest = load(root, faults)
        if faults.count:
            raise PipelineError(f"{root / faults.first[0].file}: {faults.first[0].text}")
        if not manifest.has_digests:
            raise PipelineError(f"{root / NAME} is of format 1, which has no pixel digests, so it cannot be compared")
        manifests.append(manifest)
    ours, theirs = manifests
    samples = sum(counts.samples for counts in ours.splits.values())
    return Comparison(other, tuple(_differences(ours, theirs, read_raw(out), read_raw(other))), samples)


def _differences(ours: Manifest, theirs: Manifest, raw: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    names, other_names = ([variant.name for variant in manifest.variants] for manifest in (ours, theirs))
    yield from _of_sets("variants", names, other_names)
    yield from _of_sets("splits", list(ours.splits), list(theirs.splits))
    if raw["classes"] != other["classes"]:
        yield f"classes: the names of {len(raw['classes'])} and of {len(other['classes'])} classes differ"
    for split in (split for split in ours.splits if split in theirs.splits):
        yield from _of_lists(ours, theirs, split)
        for variant in (variant for variant in ours.variants if variant.name in other_names):
            places = [document["variants"][variant.name]["splits"][split] for document in (raw, other)]
            if places[0]["pixel_digest"] != places[1]["pixel_digest"]:
                yield f"{variant.name} {split}: {_where(ours, theirs, split, variant)}"


def _of_sets(what: str, ours: list[str], theirs: list[str]) -> Iterator[str]:
    """Reports names that only one of the outputs has, or another order of the same names."""
    for only, has, lacks in (("the first", ours, theirs), ("the second", theirs, ours)):
        if missing := [name for name in has if name not in lacks]:
            yield f"{what}: only {only} output has {printable(', '.join(missing))}"
    if sorted(ours) == sorted(theirs) and ours != theirs:
        yield f"{what}: in another order"


def _of_lists(ours: Manifest, theirs: Manifest, split: str) -> Iterator[str]:
    """Reports another number of samples, or other keys, labels, names or positions."""
    counts, others = ours.splits[split], theirs.splits[split]
    if counts != others:
        text = " and ".join(
            f"{counted(count.samples, 'sample')} of {count.entries:,} entries" for count in (counts, others)
        )
        yield f"{split}: {text}"
    elif ours.files.get(samples_file(split)) != theirs.files.get(samples_file(split)):
        yield f"{split}: {samples_file(split)} differs: other keys, labels, names or order"


def _where(ours: Manifest, theirs: Manifest, split: str, variant: Variant) -> str:
    """Returns in which shards a variant differs."""
    hint = _OF_EXACT if variant.form == "npy" else ""
    pairs = list(zip(_shards(ours, split), _shards(theirs, split), strict=False))
    if ours.samples_per_shard != theirs.samples_per_shard:
        sizes = f"{ours.samples_per_shard:,} and {theirs.samples_per_shard:,}"
        return f"other keys, labels or pixels; where is not known, because shards have {sizes} samples{hint}"
    different = [shard.number for shard, other in pairs if shard.digests[variant.name] != other.digests[variant.name]]
    if not different:
        return f"other keys, labels or pixels, in the shards that only one output has{hint}"
    numbers = ", ".join(f"{number:06d}" for number in different[:5]) + ("..." if len(different) > 5 else "")
    return f"other keys, labels or pixels in {counted(len(different), 'shard')} of {len(pairs):,}: {numbers}{hint}"


def _shards(manifest: Manifest, split: str) -> list[ShardSet]:
    return [shard for shard in manifest.shards if shard.split == split]
