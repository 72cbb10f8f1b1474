"""Verifies a whole output: opens the source, divides the output into parts, and sums up what is found of them."""

import argparse
import hashlib
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.cores import usable_cores
from pipeline.errors import PipelineError, UsageError
from pipeline.liveness import lasting
from pipeline.sources import DATASETS, OBJECT, open_source, options_of_reading
from pipeline.sources.index import Entry, Source, SourceIndex
from pipeline.verification.arrays import spectra
from pipeline.verification.faults import Faults, printable
from pipeline.verification.files import check_links, check_strays, digest_of
from pipeline.verification.listings import Listing, read_listings
from pipeline.verification.manifest.claims import NAME, REJECTS, Manifest, ShardSet, index_file, samples_file
from pipeline.verification.manifest.document import compare_clients, compare_source, load, read_raw
from pipeline.verification.parts import Part, Result, ShardWork
from pipeline.verification.resume import Stamps, VerifiedParts, digest_of_part
from pipeline.verification.sampling import positions_to_recompute
from pipeline.verification.shards import moments
from pipeline.verification.workers.pool import PartVerifier, verify_parts
from pipeline.verification.workers.stall_watch import SILENCE, Alarm

# The dataset that is embedded in a dependency: its source needs no folder.
EMBEDDED = "sample"
_FILES_IN_A_PART = 256

Progress = Callable[[int, int], None]


@dataclass
class Verification:
    """What was found of an output.

    Attributes:
        sourced: whether images, labels and names were compared with the source.
        has_originals: whether there were images to recompute from, those of the source or of the variant full.
        total: over all parts; without faults if the output is as it should be.
        resumed: how many of all ``parts`` an earlier run has verified.
    """

    manifest: Manifest
    sourced: bool
    has_originals: bool
    total: Result
    resumed: int
    parts: int


class SourceOptions(NamedTuple):
    """The data that an output was made from; the fields are arguments of ``open_source``."""

    data_dir: Path | None = None
    allow_unverified: bool = False
    image_key: str | None = None
    label_key: str | None = None
    classes: Path | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "SourceOptions":
        """Returns the options that ``console.origin`` has added to a command."""
        return cls(options.source, options.allow_unverified, options.image_key, options.label_key, options.classes)


class Resume(NamedTuple):
    """The file that keeps the verified parts for the next run, or None; ``fresh`` ignores what it holds."""

    path: Path | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Options:
    """How to verify an output.

    Attributes:
        sample: how many images to recompute.
        workers: processes; None for as many as there are usable cores.
        only: verify only the parts that these files belong to.
        share: verify only the k-th of n shares of the output, as (k, n). What is verified is kept for the next runs.
        alarm: called when something takes long.
    """

    source: SourceOptions = field(default_factory=SourceOptions)
    sample: int = 64
    workers: int | None = None
    resume: Resume = field(default_factory=Resume)
    only: Set[str] | None = None
    share: tuple[int, int] | None = None
    alarm: Alarm = SILENCE


def verify_output(out: Path, options: Options, progress: Progress = lambda done, parts: None) -> Verification:
    """Verifies a finished output.

    Args:
        progress: called with the number of parts that are done, and of all parts.

    Raises:
        PipelineError: there is no finished output, its manifest cannot be understood, or the source cannot be opened.
    """
    total, alarm = Result(), options.alarm
    with lasting(alarm.stall, f"reading the manifest and the lists of {out}", alarm.say):
        manifest = load(out, total.faults)
        check_strays(manifest, total.faults)
        check_links(manifest, total.faults)
        spectra.check_groups(manifest, total.faults)
        source, index = _open_source(manifest, options.source, total.faults)
        listings = read_listings(manifest, index, total.faults)
    has_originals = index is not None or manifest.full is not None
    parts = _parts(manifest, listings, index, options.sample, has_originals)
    if options.only is not None:
        parts = [part for part in parts if not options.only.isdisjoint(_files(manifest, part))]
    if options.share is not None:
        parts = parts[options.share[0] - 1 :: options.share[1]]
    whole = options.only is None and options.share is None
    results, verified = _verify_parts(PartVerifier(manifest, source), parts, options, progress)
    for result in results:
        total.add(result)
    compare_clients(out, total.faults)
    if whole and not total.faults.count:  # otherwise not all pixels are those of the manifest
        moments.compare(manifest, read_raw(out), total.moments, total.faults)
    verified.finish(complete=whole and not total.faults.count)
    return Verification(manifest, index is not None, has_originals, total, verified.used, len(parts))


def _parts(
    manifest: Manifest, listings: dict[str, Listing], index: SourceIndex | None, sample: int, has_originals: bool
) -> list[Part]:
    """Returns all parts of an output, with the images of each that are recomputed."""
    rejects = {split: listing.rejects for split, listing in listings.items()}
    chosen = positions_to_recompute(manifest, rejects, sample) if has_originals else {}
    tried = {split: frozenset(sorted(listing.unreadable)[:sample]) for split, listing in listings.items()}
    parts: list[Part] = [*_other_files(manifest)]
    for shard in manifest.shards:
        positions = chosen.get((shard.split, shard.number), [])
        parts.append(shard_work(shard, listings[shard.split], positions, index, tried[shard.split]))
    return parts


def _verify_parts(
    verifier: PartVerifier, parts: list[Part], options: Options, progress: Progress
) -> tuple[list[Result], VerifiedParts]:
    """Returns the results of all parts, in the order of the parts, and the file of verified parts."""
    manifest = verifier.manifest
    verified = VerifiedParts(options.resume.path, options.resume.fresh, manifest)
    if options.share is not None and verified.path is None:
        raise PipelineError("--part cannot keep what it verifies in the output; name a file with --progress FILE")
    stamps, digest = Stamps(manifest), digest_of(manifest.root / NAME)
    keys = [
        digest_of_part([digest, verifier.source is not None, _claims_of(part)], stamps.of_files(_files(manifest, part)))
        for part in parts
    ]
    results = {place: result for place, key in enumerate(keys) if (result := verified.get(key)) is not None}
    rest = [place for place in range(len(parts)) if place not in results]
    progress(len(results), len(parts))
    workers = options.workers or usable_cores()
    for i, result in verify_parts(verifier, [parts[place] for place in rest], workers, options.alarm):
        results[rest[i]] = result
        verified.add(keys[rest[i]], result)
        progress(len(results), len(parts))
    return [results[place] for place in sorted(results)], verified


def _claims_of(part: Part) -> list[Any]:
    """Returns what the result of a part depends on, beside its files and the manifest."""
    if isinstance(part, list):
        return []
    return [
        part.shard.split,
        part.shard.number,
        part.listed,
        [None if array is None else hashlib.sha256(array).hexdigest() for array in (part.indexes, part.labels)],
        sorted(part.rejects),
        sorted(part.recomputed),
        [entry.index for entry in part.unreadable],
    ]


def _files(manifest: Manifest, part: Part) -> list[str]:
    """Returns the files that are read to verify a part."""
    if isinstance(part, list):
        return part
    tars = part.shard.tars.values()
    lists = [samples_file(part.shard.split), REJECTS]
    return [*tars, *map(index_file, tars), *lists, *spectra.files_of(manifest, part.shard)]


def _open_source(
    manifest: Manifest, options: SourceOptions, faults: Faults
) -> tuple[Source | None, SourceIndex | None]:
    """Returns the source and its index, if it is given (or embedded) and is the one that the output was made from."""
    source_dir = options.data_dir
    if manifest.dataset == EMBEDDED and source_dir is not None:
        raise UsageError("--source is not needed here: the dataset 'sample' has its own photographs")
    if source_dir is None and manifest.dataset != EMBEDDED:
        return None, None
    if manifest.dataset == OBJECT:
        raise UsageError(
            "--source: the output was built from a dataset object of a Python program; verify it without --source"
        )
    if manifest.dataset not in DATASETS:
        raise PipelineError(f"{NAME}: this program does not know the dataset {printable(ascii(manifest.dataset))}")
    try:
        source = open_source(manifest.dataset, **options._asdict())
        index = source.index()
    except PipelineError as error:  # sources name the option of a build
        raise PipelineError(str(error).replace("--data-dir", "--source"), error.status) from None
    fingerprint = index.fingerprint()
    if fingerprint != manifest.fingerprint:
        place = f"--source {source_dir}" if source_dir else "the embedded photographs"
        reading = options_of_reading(manifest.dataset)
        hint = f"; was it built with other {reading}?" if reading else ""
        claimed = printable(manifest.fingerprint, 64)
        faults.add(NAME, f"made from other data than {place}: fingerprint {claimed}, not {fingerprint}{hint}")
        return None, None
    compare_source(manifest, index, faults)
    return source, index


def shard_work(
    shard: ShardSet,
    listing: Listing,
    positions: list[int],
    index: SourceIndex | None,
    unreadable: Set[int] = frozenset(),
) -> ShardWork:
    """Returns what a worker needs to verify a shard.

    Args:
        positions: output positions to recompute.
        index: of the source, if there is one.
        unreadable: output positions of rejects to try again.
    """
    entries: dict[int, Entry] = {}
    tried = [position for position in sorted(unreadable) if shard.start <= position < shard.stop]
    split = index.splits.get(shard.split) if index else None
    for position in (*positions, *tried) if split is not None and listing.usable else ():
        if split is not None and listing.indexes[position] < len(split):
            entries[position] = split.entry(listing.indexes[position])
    recomputed = {position: entries.get(position) for position in positions}
    rejected = tuple(entries[position] for position in tried if position in entries)
    here = slice(shard.start, shard.stop)
    indexes, labels = (array[here] if listing.usable else None for array in (listing.indexes, listing.labels))
    rejects = listing.rejects.intersection(range(shard.start, shard.stop))
    return ShardWork(shard, indexes, labels, rejects, listing.intact, recomputed, rejected)


def _other_files(manifest: Manifest) -> list[list[str]]:
    """Returns the files that belong to no shard, in groups."""
    tars = {tar for shard in manifest.shards for tar in shard.tars.values()}
    others = sorted(manifest.files.keys() - tars - {index_file(tar) for tar in tars})
    return [others[start : start + _FILES_IN_A_PART] for start in range(0, len(others), _FILES_IN_A_PART)]
