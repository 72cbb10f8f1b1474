"""An output as a whole: taking it over, what it lacks, and finishing it.

Order of writes: the manifest is removed first and written last, so with it the output is finished and without it not.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import commit, manifest, metadata, spectra
from pipeline.commit import Record
from pipeline.content import Content, grow
from pipeline.errors import PipelineError
from pipeline.plan import Plan, Shard, folder
from pipeline.sources.index import SourceIndex
from pipeline.store import BUILD, LocalStore
from pipeline.variants import Variant

STATE = f"{BUILD}/job.json"
RUNS = f"{BUILD}/runs.jsonl"
SAMPLES = "samples"


def check_folder(out: Path) -> None:
    """Refuse a folder that is something else than an output.

    Raises:
        PipelineError: it is a file, or it holds files of somebody else's.
    """
    if out.exists() and not out.is_dir():
        raise PipelineError(f"--out {out} is a file; name a folder")
    ours = (out / STATE).exists() or (out / manifest.NAME).exists() or (out / BUILD).is_dir()
    if out.is_dir() and not ours and any(out.iterdir()):
        raise PipelineError(f"--out {out} holds files that no build has written; name an empty or a new folder")


def merged(store: LocalStore, wanted: Content, index: SourceIndex, overwrite: bool) -> Content:
    """The content that the output is to have: what is wanted, grown onto what is there unless that is overwritten.

    Raises:
        PipelineError: what is there is of another job.
    """
    state = store.read(STATE)
    return wanted if state is None or overwrite else grow(state, wanted, index)


def wipe(store: LocalStore) -> None:
    """Delete what builds have written here, the description last, and nothing else."""
    described: Any = {}
    for name in (manifest.NAME, STATE):
        try:
            described |= json.loads(store.read(name) or b"{}")
        except (ValueError, TypeError):
            continue
    store.delete(manifest.NAME)
    store.delete(commit.RECORDS)
    name = described.get("name") or described.get("fixed", {}).get("name")
    for path in sorted(store.root.iterdir()):
        tail = path.name.removeprefix(f"{name}-")
        if tail != path.name and _is_variant(tail):
            store.delete(path.name)
    for name in (SAMPLES, spectra.STORE, manifest.REJECTS, "README.md", "_info.json", STATE):
        store.delete(name)


def _is_variant(name: str) -> bool:
    try:
        Variant.parse(name)
    except ValueError:
        return False
    return True


def prepare(store: LocalStore, content: Content, run: str) -> None:
    """Say what the output is going to hold, and make its folders."""
    folders = [folder(content, variant) for variant in content.variants]
    chunks = [f"{spectra.STORE}/{split}" for split in content.splits]
    store.make_folders([commit.RECORDS, SAMPLES, *folders, *chunks])
    store.put(STATE, content.to_json(), run)


def survey(store: LocalStore, plan: Plan, recheck: bool) -> dict[Shard, Record]:
    """What is in place of every shard. Shards with rejects are left out: they are tried again as a whole."""
    found = {}
    for shard in plan.shards:
        record = commit.load(store, shard, plan.identity(shard))
        record = commit.kept(store, record, recheck) if record and not record.rejects else None
        if record is not None:
            found[shard] = record
    return found


def missing(plan: Plan, record: Record | None) -> tuple[Variant, ...]:
    """The variants of a shard that have to be built."""
    have = record.variants if record else {}
    return tuple(variant for variant in plan.content.variants if variant.name not in have)


def finish(store: LocalStore, plan: Plan, run: str, recheck: bool) -> dict[str, Any]:
    """Write everything but the shards, the manifest last, from the records on disk; nothing where all is in place.

    Args:
        recheck: write all the same, in case something was edited.

    Returns:
        the manifest.

    Raises:
        PipelineError: a shard has no complete record, or the counts do not add up.
    """
    records = _records(store, plan)
    described = manifest.describe(plan, records)
    small = (
        metadata.files(described) | manifest.spectra_files(plan) | {manifest.REJECTS: manifest.rejects(plan, records)}
    )
    small |= {f"{SAMPLES}/{split}.jsonl": manifest.samples(plan, split) for split in plan.content.splits}
    files = manifest.committed(plan, records)
    files |= {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in small.items()}
    described["files"] = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(files.items())}
    final = json.dumps(described, indent=1).encode() + b"\n"
    unchanged = store.read(manifest.NAME) == final and all(store.size(n) == size for n, (size, _) in files.items())
    if unchanged and not recheck:
        return described
    store.delete(manifest.NAME)
    store.put_all(small, run)
    store.put(manifest.NAME, final, run)
    return described


def _records(store: LocalStore, plan: Plan) -> dict[Shard, Record]:
    records: dict[Shard, Record] = {}
    for shard in plan.shards:
        record = commit.load(store, shard, plan.identity(shard))
        if record is None or missing(plan, record):
            raise PipelineError(f"shard {shard.name} has no complete record at the end of the build; run it again")
        records[shard] = record
    return records


def log_run(store: LocalStore, entry: Mapping[str, Any]) -> None:
    """Who, when and how long: kept in ``.build`` and nowhere else."""
    store.append(RUNS, json.dumps(dict(entry)).encode() + b"\n")
