"""The result of verification as a JSON document, with the SHA-256 of its own content, so that a later edit shows.

It holds no time, host, user or path: the same output, verified with the same options, gives the same bytes. The hash is
no signature: anybody who can write the file can write another hash. Sign the file where that matters.
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
from pipeline.verification.faults import Fault, Faults, printable
from pipeline.verification.files import digest_of
from pipeline.verification.manifest import strict
from pipeline.verification.manifest.claims import NAME, Manifest, index_file
from pipeline.verification.quick_check import QuickResult
from pipeline.verification.verify_output import Verification

KIND = "rank-shards proof"
# The first bytes of every report.
FIRST = b'{\n "kind": "rank-shards proof",\n'
FORMAT = 1
_MAX_BYTES = 1 << 29
FAULTY = "faulty"
_VERDICTS = {"full": "proven", "quick": "sizes agree"}  # without a fault, by mode


def of_verification(verification: Verification, sample: int) -> dict[str, Any]:
    """Returns the report of a full verification. ``sample``: how many images the user asked to recompute."""
    total, counts = verification.total, verification.total.counts
    checks = {
        "files": len(verification.manifest.files),
        "bytes": total.bytes,
        "samples": total.samples,
        "pairs_of_known_images": total.fitted,
        "pairs_held_against_other_ranks": total.paired,
        "recomputed": {
            "asked": sample,
            "images": total.recomputed,
            "from": ("source" if verification.sourced else "full") if verification.has_originals else None,
            "chosen": "evenly in every split, from SHA-256 of SPLIT-SHARD",
            "bytes": counts.bytes,
            "near_ties": counts.ties,
            "degenerate_planes": counts.degenerate,
        },
        "source_compared": verification.sourced,
    }
    return _report(verification.manifest, "full", checks, total.faults)


def of_quick_check(result: QuickResult) -> dict[str, Any]:
    """Returns the report of a quick check."""
    checks = {"files": len(result.manifest.files), "bytes": result.bytes, "records": result.records}
    return _report(result.manifest, "quick", checks, result.faults)


def _report(manifest: Manifest, mode: str, checks: dict[str, Any], faults: Faults) -> dict[str, Any]:
    places = _places(manifest)
    content = {
        "kind": KIND,
        "format": FORMAT,
        "mode": mode,
        "verdict": FAULTY if faults.count else _VERDICTS[mode],
        "name": manifest.name,
        "manifest_sha256": digest_of(manifest.root / NAME),
        "versions": {"rank-shards": __version__}
        | {package: version(package) for package in ("numpy", "pillow", "deflate", "numba", "zarr")},
        "checks": checks,
        "variants": {variant.name: _counts(manifest, variant.name) for variant in manifest.variants},
        "faults": [_fault(fault, places) for fault in faults.listed],
        "faults_in_all": faults.count,
    }
    return content | {"sha256": _digest(content)}


def _counts(manifest: Manifest, variant: str) -> dict[str, dict[str, int]]:
    """Returns shards, samples and bytes by split, as the manifest claims them."""
    counts = {split: {"shards": 0, "samples": 0, "bytes": 0} for split in manifest.splits}
    for shard in manifest.shards:
        claim = manifest.files.get(shard.tars[variant])
        counts[shard.split]["shards"] += 1
        counts[shard.split]["samples"] += shard.samples[variant]
        counts[shard.split]["bytes"] += claim.size if claim else 0
    return counts


def _places(manifest: Manifest) -> dict[str, tuple[str, str, int]]:
    """Returns variant, split and shard of every tar and index."""
    tars = {
        tar: (variant, shard.split, shard.number) for shard in manifest.shards for variant, tar in shard.tars.items()
    }
    return tars | {index_file(tar): place for tar, place in tars.items()}


def _fault(fault: Fault, places: dict[str, tuple[str, str, int]]) -> dict[str, Any]:
    """Returns a fault with its place; a text about one sample begins with its key."""
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
    """Returns the SHA-256 of the canonical form: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_bytes(report: dict[str, Any]) -> bytes:
    """Returns a report as it is written to a file."""
    return json.dumps(report, indent=1).encode() + b"\n"


def read(path: Path) -> dict[str, Any]:
    """Returns a report that nobody has edited.

    Raises:
        PipelineError: the file is no report, it was edited, or it contradicts itself.
    """
    try:
        report = strict.parse(read_regular(path, _MAX_BYTES))
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or (report.get("kind"), report.get("format")) != (KIND, FORMAT):
        raise PipelineError(f"{path} is no report of verify --json")
    content = {key: value for key, value in report.items() if key != "sha256"}
    if report.get("sha256") != _digest(content):
        raise PipelineError(f"{path} was edited: its content does not have its sha256; verify the output again")
    if not _is_sound(report):
        raise PipelineError(f"{path} is no report that verify writes: it contradicts itself; verify the output again")
    return report


def _is_sound(report: dict[str, Any]) -> bool:
    """Returns whether verdict and faults agree: anybody can compute the hash of a report that contradicts itself."""
    faults, count, right = report.get("faults"), report.get("faults_in_all"), _VERDICTS.get(str(report.get("mode")))
    if not isinstance(faults, list) or type(count) is not int or count < len(faults) or bool(count) != bool(faults):
        return False
    texts = [fault.get(key) for fault in faults if isinstance(fault, dict) for key in ("file", "fault")]
    if len(texts) != 2 * len(faults) or not all(isinstance(text, str) for text in texts):
        return False
    return right is not None and report.get("verdict") == (FAULTY if count else right)


def check(path: Path, out: Path) -> dict[str, Any]:
    """Returns a report that nobody has edited, and that is of this output's manifest.

    Raises:
        PipelineError: it is not.
    """
    report = read(path)
    try:
        digest = digest_of(out / NAME)
    except OSError as error:
        raise PipelineError(f"{out / NAME}: {error.strerror}") from None
    if report.get("manifest_sha256") != digest:
        claimed = printable(report.get("manifest_sha256"), 64)
        raise PipelineError(f"{path} is of another output: its manifest has SHA-256 {claimed}, that of {out} {digest}")
    return report
