"""A look at an output without reading it: every file there with its size, and records and manifest of one mind."""

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.verification.faults import Faults, shown
from pipeline.verification.manifest.claims import NAME, FileClaim, Manifest
from pipeline.verification.manifest.document import compare_clients, load
from pipeline.verification.shards.files import check_links, check_strays, open_own, why

RECORDS = ".build/records"
_MAX_RECORD = 1 << 26  # bytes


@dataclass
class Look:
    """What was seen of an output. ``bytes``: of the files that are there; ``records``: that agree with the manifest."""

    manifest: Manifest
    bytes: int = 0
    records: int = 0
    faults: Faults = field(default_factory=Faults)


def look(out: Path) -> Look:
    """Check sizes and records. Nothing is said of what is in the files.

    Raises:
        PipelineError: there is no finished output, or its manifest cannot be understood.
    """
    faults = Faults()
    manifest = load(out, faults)
    seen = Look(manifest, faults=faults)
    for name, claim in manifest.files.items():
        problem = _problem(out / name, claim.size)
        if problem:
            faults.add(name, problem)
        else:
            seen.bytes += claim.size
    check_strays(manifest, faults)
    check_links(manifest, faults)
    _check_records(seen)
    compare_clients(out, faults)
    return seen


def _problem(path: Path, size: int) -> str:
    try:
        found = os.lstat(path)
    except OSError as error:
        return why(error)
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not stat.S_ISREG(found.st_mode):
        return "cannot be read: not a regular file"
    return "" if found.st_size == size else f"{found.st_size:,} bytes, the manifest says {size:,}"


def _check_records(seen: Look) -> None:
    """Where the build's records are still there, each shard has one, and it names the files that the manifest names."""
    root, files = seen.manifest.root, seen.manifest.files
    if not (root / RECORDS).is_dir():
        return
    for shard in seen.manifest.shards:
        name = f"{RECORDS}/{shard.split}-{shard.number:06d}.json"
        try:
            with open_own(root / name) as file:
                recorded = _recorded(json.loads(file.read(_MAX_RECORD)))
        except OSError as error:
            seen.faults.add(name, why(error))
            continue
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            seen.faults.add(name, "is no shard record")
            continue
        tars = set(shard.tars.values()) - recorded.keys()
        other = sorted(file for file, claim in recorded.items() if files.get(file) != claim)
        if tars or other:
            seen.faults.add(name, f"it and {NAME} do not agree about {shown([*sorted(tars), *other][0])}")
        else:
            seen.records += 1


def _recorded(raw: dict[str, Any]) -> dict[str, FileClaim]:
    """The files that a record names."""
    triples = [*raw["spectra"], *raw["factors"]]
    for variant in raw["variants"].values():
        triples += (variant["tar"], variant["index"])
    return {str(name): FileClaim(size, digest) for name, size, digest in triples}
