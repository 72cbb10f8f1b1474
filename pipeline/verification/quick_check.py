"""Checks an output without reading its shards: the sizes of all files, and that records and manifest agree."""

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.verification.faults import Faults, printable
from pipeline.verification.files import check_links, check_strays, open_own, why
from pipeline.verification.manifest.claims import NAME, FileClaim, Manifest
from pipeline.verification.manifest.document import compare_clients, load

RECORDS = ".build/records"
_MAX_RECORD = 1 << 26  # bytes


@dataclass
class QuickResult:
    """What a quick check found. ``bytes``: of the files with the right size; ``records``: that agree with the manifest."""

    manifest: Manifest
    bytes: int = 0
    records: int = 0
    faults: Faults = field(default_factory=Faults)


def check(out: Path) -> QuickResult:
    """Checks sizes and records, and nothing of the content of the files.

    Raises:
        PipelineError: there is no finished output, or its manifest cannot be understood.
    """
    faults = Faults()
    manifest = load(out, faults)
    result = QuickResult(manifest, faults=faults)
    for name, claim in manifest.files.items():
        problem = _problem(out / name, claim.size)
        if problem:
            faults.add(name, problem)
        else:
            result.bytes += claim.size
    check_strays(manifest, faults)
    check_links(manifest, faults)
    _check_records(result)
    compare_clients(out, faults)
    return result


def _problem(path: Path, size: int) -> str:
    try:
        status = os.lstat(path)
    except OSError as error:
        return why(error)
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if not stat.S_ISREG(status.st_mode):
        return "cannot be read: not a regular file"
    return "" if status.st_size == size else f"{status.st_size:,} bytes, the manifest says {size:,}"


def _check_records(result: QuickResult) -> None:
    """If the output still has the build's records: each shard has one, and it names the files that the manifest names."""
    root, files = result.manifest.root, result.manifest.files
    if not (root / RECORDS).is_dir():
        return
    for shard in result.manifest.shards:
        name = f"{RECORDS}/{shard.split}-{shard.number:06d}.json"
        try:
            with open_own(root / name) as file:
                recorded = _recorded(json.loads(file.read(_MAX_RECORD)))
        except OSError as error:
            result.faults.add(name, why(error))
            continue
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            result.faults.add(name, "is no shard record")
            continue
        tars = set(shard.tars.values()) - recorded.keys()
        other = sorted(file for file, claim in recorded.items() if files.get(file) != claim)
        if tars or other:
            result.faults.add(name, f"it and {NAME} do not agree about {printable([*sorted(tars), *other][0])}")
        else:
            result.records += 1


def _recorded(raw: dict[str, Any]) -> dict[str, FileClaim]:
    """Returns the files that a record names."""
    triples = [*raw["spectra"], *raw["factors"]]
    for variant in raw["variants"].values():
        triples += (variant["tar"], variant["index"])
    return {str(name): FileClaim(size, digest) for name, size, digest in triples}
