"""An output as a whole: taking it over, what it lacks, and finishing it.

Order of writes: the manifest is removed first and written last, so with it the output is finished and without it not.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import PipelineError
from pipeline.formats import clients, factors, spectra
from pipeline.formats.zarr_rows import RowArray
from pipeline.numerics.variants import Variant
from pipeline.planning import manifest
from pipeline.planning import record as commit
from pipeline.planning.output_spec import Content, grow
from pipeline.planning.plan import Plan, Shard, folder, tar_name
from pipeline.planning.record import Record
from pipeline.sources.index import SourceIndex
from pipeline.storage.file_claims import UNFINISHED
from pipeline.storage.location import Location
from pipeline.storage.store import BUILD, Reading, Store
from pipeline.storage.system_files import is_system_file

STATE = f"{BUILD}/job.json"
RUNS = f"{BUILD}/runs.jsonl"
SAMPLES = "samples"
# What a build may have left in .build, beside the store's own traces, when it was killed before anything else.
_BEGUN = {"lock", "tmp", "records"}
_LARGEST_STATE = 1 << 20  # bytes


def check_place(store: Store, out: Location) -> None:
    """Refuse a place that cannot be reached, or that holds something else than an output.

    Raises:
        PipelineError: as ``store.check`` and ``store.check_inside`` do, or it holds files of somebody else's.
    """
    store.check()
    here = {name for name in store.names("") if not is_system_file(name)}
    inside = {name for name in store.names(BUILD) if not name.startswith(UNFINISHED)}
    begun = here == {BUILD} and inside <= _BEGUN | store.traces
    known = inside >= store.traces or "records" in inside or _has_manifest(store)
    if here and not begun and not known:
        raise PipelineError(
            f"--out {out} holds files, and nothing that says that a build has written them; name an empty or a new folder"
        )
    store.check_inside()


def _has_manifest(store: Store) -> bool:
    try:
        return {"format", "numerics", "variants", "files"} <= set(json.loads(store.read(manifest.NAME) or b"{}"))
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False


def merged(store: Store, wanted: Content, index: SourceIndex, overwrite: bool) -> Content:
    """The content that the output is to have: what is wanted, grown onto what is there unless that is overwritten.

    An image that was rejected may have been repaired since, so it may have another size.

    Raises:
        PipelineError: what is there is of another job.
    """
    if overwrite:
        return wanted
    if not store.names(commit.RECORDS) and store.size(manifest.NAME) is None:
        return wanted  # nothing was ever committed here
    state = _state(store)
    if state is None:
        raise PipelineError(
            f"the output's {STATE} is gone, so that no job can go on with it; --overwrite builds it anew"
        )
    try:
        return grow(state, wanted, index)
    except PipelineError:
        before = index.fingerprint(
            {(r.split, r.index): r.size for r in commit.all_rejects(store.snapshot(), wanted.samples_per_shard)}
        )
        if before == wanted.fingerprint:
            raise
        return replace(grow(state, replace(wanted, fingerprint=before), index), fingerprint=wanted.fingerprint)


def _state(store: Reading) -> bytes | None:
    """The output's description; what is too large to be one is damaged."""
    try:
        return store.read(STATE, _LARGEST_STATE)
    except ValueError:
        return b""


def wipe(store: Store, content: Content) -> None:
    """Delete what builds have written here but the description, which ``prepare`` replaces, and nothing else.

    Args:
        content: what is going to be built; the name of what is there comes from its own description.
    """
    names = {content.name}
    for document in (manifest.NAME, STATE):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, MemoryError):
            described = json.loads((_state(store) if document == STATE else store.read(document)) or b"{}")
            names.add(str(described["name"] if document == manifest.NAME else described["fixed"]["name"]))
    store.delete(manifest.NAME)
    store.delete(commit.RECORDS)
    for found in store.names(""):
        if any(found.startswith(f"{name}-") and _is_variant(found[len(name) + 1 :]) for name in names):
            store.delete(found)
    for name in (SAMPLES, spectra.STORE, factors.STORE, manifest.REJECTS, "README.md", "_info.json"):
        store.delete(name)


def _is_variant(name: str) -> bool:
    try:
        Variant.parse(name)
    except ValueError:
        return False
    return True


def prepare(store: Store, content: Content, run: str) -> None:
    """Say what the output is going to hold, and make its folders."""
    folders = [folder(content, variant) for variant in content.variants]
    chunks = [array.path for split in content.splits for array in _arrays(content, split)]
    store.make_folders([])
    store.put(STATE, content.to_json(), run)  # first: from here on the folder is known as an output
    store.make_folders([commit.RECORDS, SAMPLES, *folders, *chunks])


def _arrays(content: Content, split: str) -> list[RowArray]:
    """The arrays of a split: the spectra first, then what is kept of factors."""
    rows = content.samples_per_shard
    kept = content.factors.arrays(split, content.shape, rows).values() if content.factors and content.shape else ()
    return [spectra.array(split, content.side, rows), *kept]


def survey(store: Store, plan: Plan, recheck: bool) -> dict[Shard, Record]:
    """What is in place of every shard. Shards with rejects are left out: they are tried again as a whole."""
    found, now = {}, store.snapshot()
    for shard in plan.shards:
        record = _load(now, plan, shard)
        record = commit.kept(now, record, recheck) if record and not record.rejects else None
        if record is not None:
            found[shard] = record
    return found


def _load(store: Reading, plan: Plan, shard: Shard) -> Record | None:
    """A shard's record, less every variant that names other files than its own."""
    record = commit.load(store, shard, plan.identity(shard))
    content = plan.content
    values, *factor_chunks = (array.chunks(shard.start, shard.stop) for array in _arrays(content, shard.split))
    if record is None or [proof.name for proof in record.spectra] != values:
        return None
    if [proof.name for proof in record.factors] != [name for array in factor_chunks for name in array]:
        record = replace(record, factors=())
    named = {variant.name: tar_name(content, variant, shard) for variant in content.variants}
    variants = {
        name: proof
        for name, proof in record.variants.items()
        if proof.tar.name == named.get(name) and proof.index.name == named[name].removesuffix(".tar") + ".idx"
    }
    return replace(record, variants=variants)


def missing(plan: Plan, record: Record | None) -> tuple[Variant, ...]:
    """The variants of a shard that have to be built."""
    have = record.variants if record else {}
    return tuple(variant for variant in plan.content.variants if variant.name not in have)


def complete(plan: Plan, record: Record | None) -> bool:
    """Whether nothing of a shard has to be built."""
    if record is None or missing(plan, record):
        return False
    return plan.content.factors is None or bool(record.factors)


def finish(store: Store, plan: Plan, run: str, recheck: bool) -> dict[str, Any]:
    """Write everything but the shards, the manifest last, from the records on disk; nothing where all is in place.

    Args:
        recheck: write all the same, in case something was edited.

    Returns:
        the manifest.

    Raises:
        PipelineError: a shard has no complete record, or the counts do not add up.
    """
    now = store.snapshot()
    records = _records(now, plan)
    described = manifest.describe(plan, records)
    small = clients.files(described) | manifest.array_files(plan) | {manifest.REJECTS: manifest.rejects(plan, records)}
    small |= {f"{SAMPLES}/{split}.jsonl": manifest.samples(plan, split) for split in plan.content.splits}
    files = manifest.committed(plan, records)
    files |= {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in small.items()}
    described["files"] = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(files.items())}
    final = json.dumps(described, indent=1).encode() + b"\n"
    unchanged = now.size(manifest.NAME) == len(final) and store.read(manifest.NAME) == final
    unchanged = unchanged and all(now.size(name) == size for name, (size, _) in files.items())
    if unchanged and not recheck:
        return described
    store.delete(manifest.NAME)
    store.put_all(small, run)
    store.put(manifest.NAME, final, run)
    return described


def _records(now: Reading, plan: Plan) -> dict[Shard, Record]:
    records: dict[Shard, Record] = {}
    for shard in plan.shards:
        record = _load(now, plan, shard)
        if record is None or not complete(plan, record):
            raise PipelineError(f"shard {shard.name} has no complete record at the end of the build; run it again")
        records[shard] = record
    return records


def log_run(store: Store, entry: Mapping[str, Any]) -> None:
    """Who, when and how long: kept in ``.build`` and nowhere else."""
    store.append(RUNS, json.dumps(dict(entry)).encode() + b"\n")
