"""Opens ``manifest.json``, and checks that it agrees with itself and with the files that are made from it."""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.formats import clients
from pipeline.formats.clients import croissant
from pipeline.sources.index import SourceIndex
from pipeline.verification.faults import Faults, printable
from pipeline.verification.manifest import fields, strict
from pipeline.verification.manifest.claims import (
    FACTORS,
    NAME,
    OFFSET,
    REJECTS,
    SPECTRA,
    Manifest,
    Variant,
    index_file,
    samples_file,
)
from pipeline.verification.manifest.parse import Damaged, get, parse, pixel_digest

# The formats and the numerical contract that this program can verify.
FORMATS = (1, 2)
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
}  # for outputs with such variants
MAX_BYTES = 1 << 29  # of a manifest; one of ImageNet with eight variants has 7 MB


def load(root: Path, faults: Faults) -> Manifest:
    """Returns the manifest of an output.

    Args:
        faults: receives its contradictions.

    Raises:
        PipelineError: there is no output, it is not finished, or its manifest cannot be understood.
    """
    raw = read_raw(root)
    try:
        manifest = parse(root, raw)
        _compare(raw, manifest, faults)
    except Damaged as error:
        raise PipelineError(f"{root / NAME} is damaged: {error}") from None
    return manifest


def compare_source(manifest: Manifest, source: SourceIndex, faults: Faults) -> None:
    """Compares the manifest with the source: classes, title, terms and the number of entries.

    The source's note is not compared, because files that do not belong to the source change it. Nor is the value of
    ``checksums_verified``: one layout of the same images may have the official checksums, and another not.
    """
    raw = read_raw(manifest.root)
    for name, claimed, right in (
        ("classes", raw["classes"], source.classes),
        ("source.title", raw["source"].get("title"), source.title),
        ("source.terms", raw["source"].get("terms"), source.terms),
    ):
        if claimed != right:
            faults.add(NAME, f"{name} is not the source's")
    if (raw["source"].get("checksums_verified") is None) != (source.verified is None):
        faults.add(NAME, "source.checksums_verified is not what a build from this source says")
    limit = raw["job"].get("limit")
    for split, counts in manifest.splits.items():
        available = len(source.splits[split]) if split in source.splits else 0
        expected = min(limit, available) if type(limit) is int else available
        if counts.entries != expected:
            claimed = f"{split}: {counts.entries:,} entries, job.limit is {printable(limit, 40)}"
            faults.add(NAME, f"{claimed}, and the source has {available:,}")


def compare_clients(root: Path, faults: Faults) -> None:
    """Makes the cards and client files from the manifest again, and compares them with the claimed ones.

    Outputs that were built before there was a ``croissant.json`` list none.
    """
    raw = read_raw(root)
    try:
        made = clients.files(raw)
    except Exception as error:
        faults.add(NAME, f"is damaged: the clients' files cannot be made from it ({type(error).__name__})")
        return
    if croissant.NAME not in raw["files"]:
        made = {name: content for name, content in made.items() if not name.endswith(croissant.NAME)}
    others = [
        name
        for name, content in made.items()
        if raw["files"].get(name, {}).get("sha256") != hashlib.sha256(content).hexdigest()
    ]
    if others:
        faults.add(NAME, f"says other things than {others[0]} ({len(others)} such files), which is made from it")


def read_raw(root: Path) -> dict[str, Any]:
    """Returns the JSON of a manifest. Raises PipelineError."""
    path = root / NAME
    try:
        if not root.is_dir():
            raise PipelineError(
                f"{root} {'is a file, not the folder of an output' if root.exists() else 'does not exist'}"
            )
        if path.is_symlink():
            raise PipelineError(
                f"{path} is a link: an output holds its own files, copy it with cp -rL and verify the copy"
            )
        if not path.is_file():
            raise PipelineError(
                f"{root} has no {NAME}: it is no output, or an unfinished one; build it to its end first"
            )
        if path.stat().st_size > MAX_BYTES:
            raise PipelineError(f"{path} is damaged: {path.stat().st_size:,} bytes are more than a manifest can have")
        raw = strict.parse(path.read_bytes())
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise PipelineError(f"{path} is damaged: nested too deeply") from None
    except ValueError as error:
        raise PipelineError(f"{path} is damaged, it is no JSON: {printable(error)}") from None
    if not isinstance(raw, dict):
        raise PipelineError(f"{path} is damaged: it describes nothing")
    if type(raw.get("format")) is not int or raw["format"] not in FORMATS:
        formats = " and ".join(map(str, FORMATS))
        raise PipelineError(
            f"{path} has format {printable(raw.get('format'))}; this program verifies formats {formats}"
        )
    return raw


def _compare(raw: dict[str, Any], manifest: Manifest, faults: Faults) -> None:
    """Compares what the manifest says twice, and requires a claim for every file that an output needs."""
    numerics, further = raw.get("numerics"), {v.component for v in manifest.variants} & FURTHER.keys()
    if not isinstance(numerics, dict) or numerics.get("high_offset") != OFFSET:
        faults.add(NAME, f"the offset of high-rank-only images is not {OFFSET}")
    elif numerics != NUMERICS | {key: FURTHER[key] for key in further} or numerics["contract"] is True:
        faults.add(NAME, "numerics is not the contract that this program verifies")
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
    tars = {tar for shard in manifest.shards for tar in shard.tars.values()}
    for name in sorted(manifest.files.keys() - tars):
        if name.endswith(".tar"):
            faults.add(NAME, f"files has {name}, which is no shard of it, but *.tar may read it")
    fields.compare(raw, manifest, faults)


def _compare_totals(raw: dict[str, Any], variant: Variant, split: str, manifest: Manifest, faults: Faults) -> None:
    of, shards = f"{variant.name} {split}: ", raw["shards"]
    samples = get(raw, "samples", int, of)
    if samples != manifest.splits[split].samples or samples != sum(shard["samples"] for shard in shards):
        summed = sum(shard["samples"] for shard in shards)
        faults.add(NAME, f"{of}{samples} samples, {manifest.splits[split].samples} in splits, {summed} in its shards")
    if get(raw, "bytes", int, of) != sum(get(shard, "bytes", int, of) for shard in shards):
        faults.add(NAME, f"{of}bytes are not the sum over its shards")
    if manifest.has_digests:
        summed = sum(int(shard["pixel_digest"], 16) for shard in shards) % (1 << 128)
        if int(pixel_digest(raw, of), 16) != summed:
            faults.add(NAME, f"{of}pixel_digest is not the sum over its shards")
    subpixels, shape = get(raw, "subpixels", int, of), manifest.shape
    if shape is not None and subpixels != 3 * samples * shape[0] * shape[1]:
        faults.add(NAME, f"{of}subpixels are not 3 for each pixel of its samples")
    for shard in shards:
        claim = manifest.files.get(shard["name"])
        if claim is not None and claim != (shard["bytes"], shard.get("sha256")):
            faults.add(NAME, f"files and variants say different bytes or sha256 of {shard['name']}")
