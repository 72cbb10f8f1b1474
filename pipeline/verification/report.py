"""A proof as a JSON document, with the SHA-256 of its own content, so that a later edit shows.

It holds no clock, host, user or path: the same output, proven in the same way, gives the same bytes. The hash is no
signature: who can write the file can write another hash. Sign the file where that matters.
"""

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import PipelineError
from pipeline.storage.files import read_regular
from pipeline.verification.faults import Fault, Faults, shown
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import NAME, Manifest, index_file
from pipeline.verification.prove import Proof
from pipeline.verification.quick import Look
from pipeline.verification.shards.files import digest_of

KIND = "rank-shards proof"
# What the file of every report begins with.
FIRST = b'{\n "kind": "rank-shards proof",\n'
FORMAT = 1
_MAX_BYTES = 1 << 29
PROVEN, AGREED, FAULTY = "proven", "sizes agree", "faulty"  # in full, by a quick look, neither
_RIGHT = {"full": PROVEN, "quick": AGREED}


def of_proof(proof: Proof, sample: int) -> dict[str, Any]:
    """The report of a full proof. ``sample``: images that were to be recomputed."""
    total, counts = proof.total, proof.total.counts
    checks = {
        "files": len(proof.manifest.files),
        "bytes": total.bytes,
        "samples": total.samples,
        "pairs_of_known_images": total.fitted,
        "pairs_held_against_other_ranks": total.paired,
        "recomputed": {
            "asked": sample,
            "images": total.recomputed,
            "from": ("source" if proof.sourced else "full") if proof.known else None,
            "chosen": "evenly in every split, from SHA-256 of SPLIT-SHARD",
            "bytes": counts.bytes,
            "near_ties": counts.ties,
            "degenerate_planes": counts.degenerate,
        },
        "source_compared": proof.sourced,
    }
    return _report(proof.manifest, "full", checks, total.faults)


def of_look(seen: Look) -> dict[str, Any]:
    """The report of a quick look."""
    checks = {"files": len(seen.manifest.files), "bytes": seen.bytes, "records": seen.records}
    return _report(seen.manifest, "quick", checks, seen.faults)


def _report(manifest: Manifest, mode: str, checks: dict[str, Any], faults: Faults) -> dict[str, Any]:
    places = _places(manifest)
    content = {
        "kind": KIND,
        "format": FORMAT,
        "mode": mode,
        "verdict": FAULTY if faults.count else _RIGHT[mode],
        "name": manifest.name,
        "manifest_sha256": digest_of(manifest.root / NAME),
        "versions": {"rank-shards": __version__}
        | {package: version(package) for package in ("numpy", "pillow", "deflate", "numba", "zarr")},
        "checks": checks,
        "variants": {variant.name: _counts(manifest, variant.name) for variant in manifest.variants},
        "faults": [_fault(fault, places) for fault in faults.kept],
        "faults_in_all": faults.count,
    }
    return content | {"sha256": _digest(content)}


def _counts(manifest: Manifest, variant: str) -> dict[str, dict[str, int]]:
    """Shards, samples and bytes by split, as the manifest claims them."""
    counts = {split: {"shards": 0, "samples": 0, "bytes": 0} for split in manifest.splits}
    for shard in manifest.shards:
        claim = manifest.files.get(shard.tars[variant])
        counts[shard.split]["shards"] += 1
        counts[shard.split]["samples"] += shard.samples[variant]
        counts[shard.split]["bytes"] += claim.size if claim else 0
    return counts


def _places(manifest: Manifest) -> dict[str, tuple[str, str, int]]:
    """Variant, split and shard of every tar and index."""
    tars = {
        tar: (variant, shard.split, shard.number) for shard in manifest.shards for variant, tar in shard.tars.items()
    }
    return tars | {index_file(tar): place for tar, place in tars.items()}


def _fault(fault: Fault, places: dict[str, tuple[str, str, int]]) -> dict[str, Any]:
    """What is known of a fault; a text about one sample begins with its key."""
    variant, split, shard = places.get(fault.file, (None, None, None))
    key = re.match(r"([A-Za-z0-9_.-]+-[0-9]{8,15})(?:\.(?:png|npy|cls))?: ", fault.text)
    return {
        "file": fault.file,
        "variant": variant,
        "split": split,
        "shard": shard,
        "sample": key[1] if key else None,
        "fault": fault.text,
    }


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of the canonical form: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_bytes(report: dict[str, Any]) -> bytes:
    """As it is written to a file."""
    return json.dumps(report, indent=1).encode() + b"\n"


def read(path: Path) -> dict[str, Any]:
    """A report that is as it was written.

    Raises:
        PipelineError: it is none, it was edited, or it contradicts itself.
    """
    try:
        report = strict.parse(read_regular(path, _MAX_BYTES))
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or (report.get("kind"), report.get("format")) != (KIND, FORMAT):
        raise PipelineError(f"{path} is no report of python -m pipeline.verify --json")
    content = {key: value for key, value in report.items() if key != "sha256"}
    if report.get("sha256") != _digest(content):
        raise PipelineError(
            f"{path} was edited: its content is not what its sha256 was made of; verify the output again"
        )
    if not _is_sound(report):
        raise PipelineError(f"{path} says what no verify says; verify the output again")
    return report


def _is_sound(report: dict[str, Any]) -> bool:
    """Whether verdict and faults are of one mind, whoever has made the hash."""
    faults, count, right = report.get("faults"), report.get("faults_in_all"), _RIGHT.get(str(report.get("mode")))
    if not isinstance(faults, list) or type(count) is not int or count < len(faults) or bool(count) != bool(faults):
        return False
    texts = [fault.get(key) for fault in faults if isinstance(fault, dict) for key in ("file", "fault")]
    if len(texts) != 2 * len(faults) or not all(isinstance(text, str) for text in texts):
        return False
    return right is not None and report.get("verdict") == (FAULTY if count else right)


def check(path: Path, out: Path) -> dict[str, Any]:
    """A report that is as it was written, and of this output's manifest.

    Raises:
        PipelineError: it is not.
    """
    report = read(path)
    try:
        found = digest_of(out / NAME)
    except OSError as error:
        raise PipelineError(f"{out / NAME}: {error.strerror}") from None
    if report.get("manifest_sha256") != found:
        told = shown(report.get("manifest_sha256"), 64)
        raise PipelineError(f"{path} is of another output: its manifest has SHA-256 {told}, that of {out} {found}")
    return report
