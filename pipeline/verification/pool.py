"""The parts of an output, spread over processes."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from pipeline.errors import PipelineError
from pipeline.numerics import runtime
from pipeline.sources.index import Source
from pipeline.verification import forks
from pipeline.verification.faults import shown
from pipeline.verification.manifest.claims import Manifest
from pipeline.verification.part import Part, Result, Work, name_of
from pipeline.verification.shards.files import check_files, owners_of, why
from pipeline.verification.stall_watch import SILENCE, Alarm, Lookout, Teller


class Claims:
    """What every process knows: the manifest, its files by their hash, and the source."""

    def __init__(self, manifest: Manifest, source: Source | None) -> None:
        self.manifest, self.source = manifest, source
        self.owners = owners_of(manifest)

    def prove(self, part: Part) -> Result:
        """Prove a part. Whatever goes wrong in it is a fault: nothing counts as proven that was not looked at."""
        # slow to load, and the process that hands out the parts needs none of them
        from pipeline.verification.arrays.recompute import try_rejects
        from pipeline.verification.shards.diagnosis import ShardProof
        from pipeline.verification.shards.fast_check import screen

        result = Result()
        name = part[0] if isinstance(part, list) else next(iter(part.shard.tars.values()))
        try:
            if isinstance(part, Work):
                found = screen(self.manifest, part, self.source)
                found = found or ShardProof(self.manifest, self.owners, part, self.source).run()
                if self.source is not None:
                    try_rejects(self.manifest, part, self.source, found.faults)
                return found
            result.faults, result.bytes = check_files(self.manifest, part, self.owners)
        except OSError as error:
            result.faults.add(name, why(error))
        except Exception as error:  # hostile content has found a way that we do not know
            result.faults.add(name, f"cannot be proven: {type(error).__name__}: {shown(error)}")
        return result


def results(claims: Claims, work: list[Part], workers: int, alarm: Alarm = SILENCE) -> Iterator[tuple[int, Result]]:
    """Every part's result with its place, as they are done."""
    lookout = Lookout(alarm, [name_of(part) for part in work])
    if workers == 1 or len(work) <= 1:
        runtime.prepare()
        with lookout.over():
            for place, part in enumerate(work):
                lookout.begun(place, os.getpid(), time.monotonic(), time.monotonic())
                result = claims.prove(part)
                lookout.ended(place)
                yield place, result
        return
    forks.warm()
    words, told = forks.CONTEXT.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, len(work)), forks.CONTEXT, _start, (claims, told))
    with words, told, lookout.over(words):
        try:
            with forks.without_interrupts():
                places = {pool.submit(_prove, place, part): place for place, part in enumerate(work)}
            for future in as_completed(places):
                result, place = future.result(), places[future]
                lookout.ended(place)
                yield place, result
        except BrokenProcessPool:
            raise PipelineError("a worker died, most likely for want of memory; try fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


_claims: Claims
_teller: Teller


def _start(claims: Claims, told: Connection) -> None:
    global _claims, _teller  # a pool hands its workers their state no other way
    forks.end_with_parent()
    _claims, _teller = claims, Teller(told)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    runtime.prepare()


def _prove(place: int, part: Part) -> Result:
    with _teller.telling(place):
        return _claims.prove(part)
