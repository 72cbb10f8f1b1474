"""The text that a build prints at the end, and the fields of its last event."""

import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import one_line
from pipeline.execution.reporting.events import rounded
from pipeline.execution.reporting.outcome import Outcome
from pipeline.execution.reporting.progress import per_second, shares
from pipeline.liveness import duration
from pipeline.planning.job import Job
from pipeline.planning.manifest import REJECTS
from pipeline.storage.location import copy_command
from pipeline.storage.store import BUILD, open_store

_SHOWN = 5


def text(job: Job, outcome: Outcome) -> str:
    """Returns the summary: what the output holds, how fast it was built, and the next command to type."""
    manifest = outcome.manifest
    splits = ", ".join(f"{name} {split['samples']:,}" for name, split in manifest["splits"].items())
    lines = [f"{job.out}: {', '.join(manifest['variants'])} of {splits} images, {_bytes(manifest) / 1e6:,.1f} MB"]
    if outcome.shards:
        rate = outcome.images / max(outcome.working, 1e-9)
        lines.append(
            f"built {outcome.shards} shards from {outcome.images:,} images in {duration(outcome.working)} "
            f"({per_second(rate)} images/s; {shares(outcome.seconds)}), {outcome.retried.total()} retries"
        )
        if len(outcome.nodes) > 1:
            lines.append(slowest(outcome))
        if outcome.repaired:
            lines.append(
                f"{outcome.repaired:,} planes were recomputed by LAPACK, because the GPU's eigenvectors were wrong"
            )
        if outcome.retried:
            names = list(outcome.retried)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"tried again: {', '.join(names[:_SHOWN])}{more}; {BUILD}/runs.jsonl says how often")
    else:
        lines.append("everything was in place already; nothing was built")
    rejected = sum(split["rejects"] for split in manifest["splits"].values())
    lines.append(f"rejected: {f'{rejected:,}, listed in {job.out}/{REJECTS}' if rejected else 'none'}")
    if manifest["source"]["note"]:
        lines.append(f"note: {manifest['source']['note']}")
    if len(manifest["versions"]) > 1:
        lines.append("warning: its shards were built with different library versions; the manifest lists them")
    lines.append(_numerics(manifest))
    if isinstance(job.out, Path):
        lines.append(f"look: {console.command('report')} {shlex.quote(str(job.out))}")
    lines.append(f"next: {_next(job)}")
    return "\n".join(one_line(line) for line in lines)


def slowest(outcome: Outcome) -> str:
    """Returns a line with the slowest nodes of a cluster, at most half of them and three."""
    rates = sorted((work.rate, node) for node, work in outcome.nodes.items())
    listed = ", ".join(f"{node} {per_second(rate)}" for rate, node in rates[: min(3, len(rates) // 2)])
    median = per_second(statistics.median(rate for rate, _ in rates))
    return f"slowest nodes: {listed} images/s per worker; the median of {len(rates)} nodes is {median}"


def event(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Returns the fields of the event ``finished``."""
    manifest = outcome.manifest
    splits = {
        name: {"samples": split["samples"], "rejects": split["rejects"]} for name, split in manifest["splits"].items()
    }
    return {
        "out": str(job.out),
        "variants": list(manifest["variants"]),
        "splits": splits,
        "bytes": _bytes(manifest),
        "shards_built": outcome.shards,
        "images_built": outcome.images,
        "seconds": round(outcome.working, 3),
        "worked": rounded(outcome.seconds),
        "retries": outcome.retried.total(),
        "next": _next(job),
    }


def _bytes(manifest: dict[str, Any]) -> int:
    return sum(split["bytes"] for variant in manifest["variants"].values() for split in variant["splits"].values())


def _next(job: Job) -> str:
    """Returns the command line that verifies the output. An output in object storage is copied first."""
    if isinstance(job.out, Path):
        return f"{console.command('verify')} {shlex.quote(str(job.out))}"
    folder = f"out/{job.name}"
    return f"{copy_command(job.out, folder)} && {console.command('verify')} {folder}"


def _numerics(manifest: dict[str, Any]) -> str:
    cuts = [variant for variant in manifest["variants"].values() if variant["component"] != "full"]
    planes = {tuple(variant.get(key, 0) for key in ("rank", "above", "radius")): variant for variant in cuts}
    splits = [
        split for variant in planes.values() for split in variant["splits"].values()
    ]  # low, high: the same planes
    sums = {
        name: sum(split[name] for split in splits) for name in ("near_ties", "degenerate_planes", "recomputed_planes")
    }
    subpixels = max(1, sum(split["subpixels"] for split in splits))
    return (
        f"numerics: {1e6 * sums['near_ties'] / subpixels:.1f} subpixels in a million near a rounding tie, "
        f"{sums['degenerate_planes']:,} degenerate planes, {sums['recomputed_planes']:,} planes recomputed by LAPACK"
    )


def rejects(job: Job, count: int) -> str:
    """Returns one line with the first rejects by name and reason."""
    lines = (open_store(job.out).read(REJECTS) or b"").decode().splitlines()
    first = [json.loads(line) for line in lines[:_SHOWN]]
    listed = "; ".join(f"{one_line(reject['name'])}: {reject['reason']}" for reject in first)
    more = f"; and {count - len(first)} more" if count > len(first) else ""
    noun = "image was" if count == 1 else "images were"
    return f"{count} {noun} rejected ({listed}{more}); all are in {job.out}/{REJECTS}; a rerun tries them again"
