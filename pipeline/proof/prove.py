"""A whole output: opens the source, spreads the work over processes, and sums up what they find."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from pipeline import runtime
from pipeline.errors import PipelineError, UsageError
from pipeline.proof import moments
from pipeline.proof.faults import Faults, shown
from pipeline.proof.files import check_files, check_strays
from pipeline.proof.manifest import NAME, Manifest, ShardSet, compare_clients, index_file, load, read_raw
from pipeline.proof.samples import Listing, read_listings
from pipeline.proof.sampling import spread
from pipeline.proof.shard import Result, ShardProof, Work
from pipeline.sources import DATASETS, open_source
from pipeline.sources.index import Entry, Source, SourceIndex

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
    """

    manifest: Manifest
    sourced: bool
    known: bool
    total: Result


class Origin(NamedTuple):
    """Where the data lies that an output was made from; the fields are arguments of ``open_source``."""

    data_dir: Path | None = None
    allow_unverified: bool = False
    label_key: str | None = None
    classes: Path | None = None


def prove(out: Path, origin: Origin, sample: int, workers: int | None, progress: Progress) -> Proof:
    """Prove a finished output.

    Args:
        sample: images that are recomputed.
        workers: processes; None for one per core.
        progress: called with parts done and parts in all.

    Raises:
        PipelineError: there is no finished output, its manifest cannot be understood, or the source cannot be opened.
    """
    total = Result()
    manifest = load(out, total.faults)
    source, index = _open_source(manifest, origin, total.faults)
    check_strays(manifest, total.faults)
    listings = read_listings(manifest, index, total.faults)
    known = index is not None or manifest.full is not None
    rejects = {split: listing.rejects for split, listing in listings.items()}
    chosen = spread(manifest, rejects, sample) if known else {}
    work: list[Work | list[str]] = [*_other_files(manifest)]
    for shard in manifest.shards:
        work.append(_work(shard, listings[shard.split], chosen.get((shard.split, shard.number), []), index))
    results: dict[int, Result] = {}
    for place, result in _results(_Claims(manifest, source), work, workers or len(os.sched_getaffinity(0))):
        results[place] = result
        progress(len(results), len(work))
    for place in sorted(results):  # in the output's order, whichever was done first
        total.add(results[place])
    compare_clients(out, total.faults)
    if not total.faults.count:  # else some pixels are not those that the manifest speaks of
        moments.compare(manifest, read_raw(out), total.moments, total.faults)
    return Proof(manifest, index is not None, known, total)


def _open_source(manifest: Manifest, origin: Origin, faults: Faults) -> tuple[Source | None, SourceIndex | None]:
    """The source and its index, if one was named (or is embedded) and it is the one that the output was made from."""
    source_dir = origin.data_dir
    if manifest.dataset == EMBEDDED and source_dir is not None:
        raise UsageError("--source is not needed here: the photographs of the dataset 'sample' come with this program")
    if source_dir is None and manifest.dataset != EMBEDDED:
        return None, None
    if manifest.dataset not in DATASETS:
        raise PipelineError(f"{NAME}: dataset {shown(ascii(manifest.dataset))} is none that this program knows")
    source = open_source(manifest.dataset, **origin._asdict())
    index = source.index()
    if index.fingerprint() != manifest.fingerprint:
        of = f"--source {source_dir}" if source_dir else "the embedded photographs"
        found, wanted = index.fingerprint(), shown(manifest.fingerprint, 64)
        hint = "; is it built with other --label-key or --classes?" if manifest.dataset == "webdataset" else ""
        faults.add(NAME, f"made from other data than {of}: fingerprint {wanted}, not {found}{hint}")
        return None, None
    return source, index


def _work(shard: ShardSet, listing: Listing, positions: list[int], index: SourceIndex | None) -> Work:
    recomputed: dict[int, Entry | None] = dict.fromkeys(positions)
    known = index.splits.get(shard.split) if index else None
    for position in positions if known is not None and listing.offsets else ():
        if known is not None and listing.indexes[position] < len(known):
            recomputed[position] = known.entry(listing.indexes[position])
    offset = listing.offsets[shard.number] if listing.offsets else None
    rejects = listing.rejects.intersection(range(shard.start, shard.stop))
    return Work(shard, offset, rejects, listing.intact, recomputed)


def _other_files(manifest: Manifest) -> list[list[str]]:
    """The files that are no part of a shard, in groups."""
    tars = {tar for shard in manifest.shards for tar in shard.tars.values()}
    others = sorted(manifest.files.keys() - tars - {index_file(tar) for tar in tars})
    return [others[start : start + _FILES_AT_ONCE] for start in range(0, len(others), _FILES_AT_ONCE)]


class _Claims:
    """What every process knows: the manifest, its files by their hash, and the source."""

    def __init__(self, manifest: Manifest, source: Source | None) -> None:
        self.manifest, self.source = manifest, source
        self.owners: Mapping[str, str] = {claim.sha256: name for name, claim in manifest.files.items()}

    def prove(self, part: Work | list[str]) -> Result:
        """Prove a part. Whatever goes wrong in it is a fault: nothing counts as proven that was not looked at."""
        result = Result()
        name = part[0] if isinstance(part, list) else next(iter(part.shard.tars.values()))
        try:
            if isinstance(part, Work):
                return ShardProof(self.manifest, self.owners, part, self.source).run()
            result.faults, result.bytes = check_files(self.manifest, part, self.owners)
        except OSError as error:
            result.faults.add(name, f"cannot be read: {error.strerror or shown(error)}")
        except Exception as error:  # hostile content has found a way that we do not know
            result.faults.add(name, f"cannot be proven: {type(error).__name__}: {shown(error)}")
        return result


def _results(claims: _Claims, work: list[Work | list[str]], workers: int) -> Iterator[tuple[int, Result]]:
    """Every part's result with its place, as they are done."""
    if workers == 1 or len(work) == 1:
        runtime.prepare()
        for place, part in enumerate(work):
            yield place, claims.prove(part)
        return
    pool = ProcessPoolExecutor(min(workers, len(work)), get_context("spawn"), _start, (claims,))
    try:
        signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # workers start with it blocked: Ctrl-C ends them silently
        try:
            places = {pool.submit(_prove, part): place for place, part in enumerate(work)}
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for future in as_completed(places):
            yield places[future], future.result()
    except BrokenProcessPool:
        raise PipelineError("a worker died, most likely for want of memory; try fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


_claims: _Claims


def _start(claims: _Claims) -> None:
    global _claims  # a pool hands its workers their state no other way
    _claims = claims
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    runtime.prepare()


def _prove(part: Work | list[str]) -> Result:
    return _claims.prove(part)
