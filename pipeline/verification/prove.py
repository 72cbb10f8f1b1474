"""A whole output: opens the source, divides it into parts, and sums up what is found of them."""

import hashlib
import os
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import PipelineError, UsageError
from pipeline.liveness import lasting
from pipeline.sources import DATASETS, open_source
from pipeline.sources.index import Entry, Source, SourceIndex
from pipeline.verification.arrays import spectra
from pipeline.verification.faults import Faults, shown
from pipeline.verification.listings import Listing, read_listings
from pipeline.verification.manifest.claims import NAME, REJECTS, Manifest, ShardSet, index_file, samples_file
from pipeline.verification.manifest.document import compare_clients, compare_source, load, read_raw
from pipeline.verification.part import Part, Result, Work
from pipeline.verification.pool import Claims, results
from pipeline.verification.resume import Kept, Stamps, part_of
from pipeline.verification.sampling import spread
from pipeline.verification.shards import moments
from pipeline.verification.shards.files import check_links, check_strays, digest_of
from pipeline.verification.stall_watch import SILENCE, Alarm

# The dataset that is embedded in a dependency: its source needs no folder.
EMBEDDED = "sample"
_FILES_AT_ONCE = 256

Progress = Callable[[int, int], None]


@dataclass
class Proof:
    """What was found of an output.

    Attributes:
        sourced: images, labels and names were held against the source.
        known: there were images to recompute from, the source's or the full ones.
        total: over all shards and files; its ``faults`` are empty where the output is as it should be.
        kept: of all ``parts``, those that an earlier run has proven.
    """

    manifest: Manifest
    sourced: bool
    known: bool
    total: Result
    kept: int
    parts: int


class Origin(NamedTuple):
    """Where the data lies that an output was made from; the fields are arguments of ``open_source``."""

    data_dir: Path | None = None
    allow_unverified: bool = False
    label_key: str | None = None
    classes: Path | None = None


class Keeping(NamedTuple):
    """Where what has been proven is kept for the next run: a file, or None; ``fresh`` believes nothing of it."""

    path: Path | None = None
    fresh: bool = False


def prove(
    out: Path,
    origin: Origin,
    sample: int,
    workers: int | None,
    progress: Progress,
    keeping: Keeping = Keeping(),  # noqa: B008  # immutable
    only: Set[str] | None = None,
    alarm: Alarm = SILENCE,
) -> Proof:
    """Prove a finished output.

    Args:
        sample: images that are recomputed.
        workers: processes; None for one per core.
        progress: called with parts done and parts in all.
        only: prove nothing but the parts that these files belong to.
        alarm: of what lasts long.

    Raises:
        PipelineError: there is no finished output, its manifest cannot be understood, or the source cannot be opened.
    """
    total = Result()
    with lasting(alarm.stall, f"reading the manifest and the lists of {out}", alarm.say):
        manifest = load(out, total.faults)
        check_strays(manifest, total.faults)
        check_links(manifest, total.faults)
        spectra.check_groups(manifest, total.faults)
        source, index = _open_source(manifest, origin, total.faults)
        listings = read_listings(manifest, index, total.faults)
    known = index is not None or manifest.full is not None
    rejects = {split: listing.rejects for split, listing in listings.items()}
    chosen = spread(manifest, rejects, sample) if known else {}
    work: list[Part] = [*_other_files(manifest)]
    tried = {split: frozenset(sorted(listing.unreadable)[:sample]) for split, listing in listings.items()}
    for shard in manifest.shards:
        positions = chosen.get((shard.split, shard.number), [])
        work.append(_work(shard, listings[shard.split], positions, index, tried[shard.split]))
    if only is not None:
        work = [part for part in work if not only.isdisjoint(_files(manifest, part))]
    found, kept = _prove_all(manifest, source, work, workers, progress, keeping, alarm)
    for result in found:
        total.add(result)
    compare_clients(out, total.faults)
    if only is None and not total.faults.count:  # else some pixels are not those that the manifest speaks of
        moments.compare(manifest, read_raw(out), total.moments, total.faults)
    kept.finish(proven=only is None and not total.faults.count)
    return Proof(manifest, index is not None, known, total, kept.used, len(work))


def _prove_all(
    manifest: Manifest,
    source: Source | None,
    work: list[Part],
    workers: int | None,
    progress: Progress,
    keeping: Keeping,
    alarm: Alarm,
) -> tuple[list[Result], Kept]:
    """The results of all parts in the output's order, whichever was done first."""
    kept = Kept(keeping.path, keeping.fresh, manifest)
    stamps, digest = Stamps(manifest), digest_of(manifest.root / NAME)
    names = [
        part_of([digest, source is not None, _claims_of(part)], stamps.of(_files(manifest, part))) for part in work
    ]
    found = {place: result for place, name in enumerate(names) if (result := kept.get(name)) is not None}
    rest = [place for place in range(len(work)) if place not in found]
    progress(len(found), len(work))
    processes = workers or len(os.sched_getaffinity(0))
    of = results(Claims(manifest, source), [work[place] for place in rest], processes, alarm)
    for i, result in of:
        found[rest[i]] = result
        kept.add(names[rest[i]], result)
        progress(len(found), len(work))
    return [found[place] for place in sorted(found)], kept


def _claims_of(part: Part) -> list[Any]:
    """What a part's proof depends on beside its files and the manifest."""
    if isinstance(part, list):
        return []
    return [
        part.shard.split,
        part.shard.number,
        part.listed,
        [None if known is None else hashlib.sha256(known).hexdigest() for known in (part.indexes, part.labels)],
        sorted(part.rejects),
        sorted(part.recomputed),
        [entry.index for entry in part.unreadable],
    ]


def _files(manifest: Manifest, part: Part) -> list[str]:
    """The files that a part's proof looks at."""
    if isinstance(part, list):
        return part
    tars = part.shard.tars.values()
    lists = [samples_file(part.shard.split), REJECTS]
    return [*tars, *map(index_file, tars), *lists, *spectra.files_of(manifest, part.shard)]


def _open_source(manifest: Manifest, origin: Origin, faults: Faults) -> tuple[Source | None, SourceIndex | None]:
    """The source and its index, if one was named (or is embedded) and it is the one that the output was made from."""
    source_dir = origin.data_dir
    if manifest.dataset == EMBEDDED and source_dir is not None:
        raise UsageError("--source is not needed here: the photographs of the dataset 'sample' come with this program")
    if source_dir is None and manifest.dataset != EMBEDDED:
        return None, None
    if manifest.dataset not in DATASETS:
        raise PipelineError(f"{NAME}: dataset {shown(ascii(manifest.dataset))} is none that this program knows")
    try:
        source = open_source(manifest.dataset, **origin._asdict())
        index = source.index()
    except PipelineError as error:  # sources speak of the option that a build has
        raise PipelineError(str(error).replace("--data-dir", "--source"), error.status) from None
    if index.fingerprint() != manifest.fingerprint:
        of = f"--source {source_dir}" if source_dir else "the embedded photographs"
        found, wanted = index.fingerprint(), shown(manifest.fingerprint, 64)
        hint = "; is it built with other --label-key or --classes?" if manifest.dataset == "webdataset" else ""
        faults.add(NAME, f"made from other data than {of}: fingerprint {wanted}, not {found}{hint}")
        return None, None
    compare_source(manifest, index, faults)
    return source, index


def _work(
    shard: ShardSet,
    listing: Listing,
    positions: list[int],
    index: SourceIndex | None,
    unreadable: Set[int] = frozenset(),
) -> Work:
    entries: dict[int, Entry] = {}
    tried = [position for position in sorted(unreadable) if shard.start <= position < shard.stop]
    known = index.splits.get(shard.split) if index else None
    for position in (*positions, *tried) if known is not None and listing.usable else ():
        if known is not None and listing.indexes[position] < len(known):
            entries[position] = known.entry(listing.indexes[position])
    recomputed = {position: entries.get(position) for position in positions}
    rejected = tuple(entries[position] for position in tried if position in entries)
    here = slice(shard.start, shard.stop)
    indexes, labels = (of[here] if listing.usable else None for of in (listing.indexes, listing.labels))
    rejects = listing.rejects.intersection(range(shard.start, shard.stop))
    return Work(shard, indexes, labels, rejects, listing.intact, recomputed, rejected)


def _other_files(manifest: Manifest) -> list[list[str]]:
    """The files that are no part of a shard, in groups."""
    tars = {tar for shard in manifest.shards for tar in shard.tars.values()}
    others = sorted(manifest.files.keys() - tars - {index_file(tar) for tar in tars})
    return [others[start : start + _FILES_AT_ONCE] for start in range(0, len(others), _FILES_AT_ONCE)]
