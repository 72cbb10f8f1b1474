"""The state of an output: whether a job may use it, what it lacks, and how it is finished.

The manifest is removed before anything changes and written last. So an output with a manifest is finished.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import PipelineError
from pipeline.formats import clients, factors, spectra
from pipeline.formats.clients import croissant
from pipeline.formats.zarr_rows import RowArray
from pipeline.numerics.variants import Variant
from pipeline.planning import manifest
from pipeline.planning.output_spec import Content, grow
from pipeline.planning.plan import Plan, Shard, folder, tar_name
from pipeline.planning.record import RECORDS, Record, all_rejects, intact_part, load
from pipeline.sources.index import SourceIndex
from pipeline.storage.file_claims import UNFINISHED
from pipeline.storage.location import Location
from pipeline.storage.store import BUILD, Reading, Store
from pipeline.storage.system_files import is_system_file

STATE = f"{BUILD}/job.json"
RUNS = f"{BUILD}/runs.jsonl"
SAMPLES = "samples"
# What a build that was killed at its start may have left in .build, besides the store's own traces.
_BEGUN = {"lock", "tmp", "records"}
_MAX_STATE = 1 << 20  # bytes


def check_place(store: Store, out: Location) -> None:
    """Checks that an output can be built at a location.

    Raises:
        PipelineError: the location cannot be reached, or holds files that no build has written.
    """
    store.check()
    here = {name for name in store.names("") if not is_system_file(name)}
    inside = {name for name in store.names(BUILD) if not name.startswith(UNFINISHED)}
    begun = here == {BUILD} and inside <= _BEGUN | store.traces
    built = inside >= store.traces or "records" in inside or _has_manifest(store)
    if here and not begun and not built:
        raise PipelineError(
            f"--out {out} holds files, and nothing says that a build has written them; name an empty or a new folder"
        )
    store.check_inside()


def _has_manifest(store: Store) -> bool:
    try:
        return {"format", "numerics", "variants", "files"} <= set(json.loads(store.read(manifest.NAME) or b"{}"))
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False


def merged(store: Store, requested: Content, index: SourceIndex, overwrite: bool) -> Content:
    """Returns the content of the output after the build: the requested content and what the output already holds.

    A rejected image may have been replaced in the source since. So a fingerprint also matches if it differs in the
    sizes of rejected images only.

    Raises:
        PipelineError: the output is of another job.
    """
    if overwrite:
        return requested
    if not store.names(RECORDS) and store.size(manifest.NAME) is None:
        return requested  # the output holds nothing yet
    state = _state(store)
    if state is None:
        raise PipelineError(f"the output's {STATE} is missing, so no job can continue it; --overwrite builds it again")
    try:
        return grow(state, requested, index)
    except PipelineError:
        before = index.fingerprint(
            {(r.split, r.index): r.size for r in all_rejects(store.snapshot(), requested.samples_per_shard)}
        )
        if before == requested.fingerprint:
            raise
        return replace(grow(state, replace(requested, fingerprint=before), index), fingerprint=requested.fingerprint)


def _state(store: Reading) -> bytes | None:
    """Returns the content of ``job.json``; empty, as damaged, if it is too large."""
    try:
        return store.read(STATE, _MAX_STATE)
    except ValueError:
        return b""


def wipe(store: Store, content: Content) -> None:
    """Deletes what earlier builds have written, and nothing else. ``job.json`` stays until ``prepare`` replaces it.

    Args:
        content: of the output to build. Earlier builds may have used other names: the manifest and ``job.json`` say which.
    """
    names = {content.name}
    for document in (manifest.NAME, STATE):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, MemoryError):
            fields = json.loads((_state(store) if document == STATE else store.read(document)) or b"{}")
            names.add(str(fields["name"] if document == manifest.NAME else fields["fixed"]["name"]))
    store.delete(manifest.NAME)
    store.delete(RECORDS)
    for entry in store.names(""):
        if any(entry.startswith(f"{name}-") and _is_variant(entry[len(name) + 1 :]) for name in names):
            store.delete(entry)
    for name in (SAMPLES, spectra.STORE, factors.STORE, manifest.REJECTS, "README.md", "_info.json", croissant.NAME):
        store.delete(name)


def _is_variant(name: str) -> bool:
    try:
        Variant.parse(name)
    except ValueError:
        return False
    return True


def prepare(store: Store, content: Content, run: str) -> None:
    """Writes ``job.json`` and makes the folders of the output."""
    folders = [folder(content, variant) for variant in content.variants]
    chunks = [array.path for split in content.splits for array in _arrays(content, split)]
    store.make_folders([])
    store.put(STATE, content.to_json(), run)  # first: it marks the folder as an output
    store.make_folders([RECORDS, SAMPLES, *folders, *chunks])


def _arrays(content: Content, split: str) -> list[RowArray]:
    """Returns the arrays of a split: its spectra, then its factors."""
    rows = content.samples_per_shard
    factors = content.factors.arrays(split, content.shape, rows).values() if content.factors and content.shape else ()
    return [spectra.array(split, content.side, rows), *factors]


def survey(store: Store, plan: Plan, recheck: bool) -> dict[Shard, Record]:
    """Returns the records of what is in place. A shard with rejects has none: it is built again as a whole."""
    records, snapshot = {}, store.snapshot()
    for shard in plan.shards:
        record = _load(snapshot, plan, shard)
        record = intact_part(snapshot, record, recheck) if record and not record.rejects else None
        if record is not None:
            records[shard] = record
    return records


def _load(store: Reading, plan: Plan, shard: Shard) -> Record | None:
    """Returns a shard's record without the variants and factors whose files do not have the expected names."""
    record = load(store, shard, plan.identity(shard))
    content = plan.content
    values, *factor_chunks = (array.chunks(shard.start, shard.stop) for array in _arrays(content, shard.split))
    if record is None or [file.name for file in record.spectra] != values:
        return None
    if [file.name for file in record.factors] != [name for array in factor_chunks for name in array]:
        record = replace(record, factors=())
    tars = {variant.name: tar_name(content, variant, shard) for variant in content.variants}
    variants = {
        name: variant
        for name, variant in record.variants.items()
        if variant.tar.name == tars.get(name) and variant.index.name == tars[name].removesuffix(".tar") + ".idx"
    }
    return replace(record, variants=variants)


def missing(plan: Plan, record: Record | None) -> tuple[Variant, ...]:
    """Returns the variants of a shard that have to be built."""
    present = record.variants if record else {}
    return tuple(variant for variant in plan.content.variants if variant.name not in present)


def complete(plan: Plan, record: Record | None) -> bool:
    """Returns whether a shard needs no work."""
    if record is None or missing(plan, record):
        return False
    return plan.content.factors is None or bool(record.factors)


def finish(store: Store, plan: Plan, run: str, recheck: bool) -> dict[str, Any]:
    """Writes every file except the shards, from the stored records. The manifest comes last.

    Args:
        recheck: write the files even if all are in place: their content may have been edited.

    Returns:
        The manifest.

    Raises:
        PipelineError: a shard has no complete record, or the counts do not add up.
    """
    snapshot = store.snapshot()
    records = _records(snapshot, plan)
    document = manifest.describe(plan, records)
    small = clients.files(document) | manifest.array_files(plan) | {manifest.REJECTS: manifest.rejects(plan, records)}
    small |= {f"{SAMPLES}/{split}.jsonl": manifest.samples(plan, split) for split in plan.content.splits}
    files = manifest.committed(plan, records)
    files |= {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in small.items()}
    document["files"] = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(files.items())}
    final = manifest.to_json(document)
    unchanged = snapshot.size(manifest.NAME) == len(final) and store.read(manifest.NAME) == final
    unchanged = unchanged and all(snapshot.size(name) == size for name, (size, _) in files.items())
    if unchanged and not recheck:
        return document
    store.delete(manifest.NAME)
    store.put_all(small, run)
    store.put(manifest.NAME, final, run)
    return document


def _records(snapshot: Reading, plan: Plan) -> dict[Shard, Record]:
    """Returns the record of every shard. Raises PipelineError if one is not complete."""
    records: dict[Shard, Record] = {}
    for shard in plan.shards:
        record = _load(snapshot, plan, shard)
        if record is None or not complete(plan, record):
            raise PipelineError(f"shard {shard.name} has no complete record at the end of the build; run it again")
        records[shard] = record
    return records


def log_run(store: Store, entry: Mapping[str, Any]) -> None:
    """Appends an entry (who, when, how long) to the log of runs in ``.build``. No other file holds it."""
    store.append(RUNS, json.dumps(dict(entry)).encode() + b"\n")
