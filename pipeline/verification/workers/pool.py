"""Verifies the parts of an output in several processes."""

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
from pipeline.verification.faults import printable
from pipeline.verification.files import check_files, owners_of, why
from pipeline.verification.manifest.claims import Manifest
from pipeline.verification.parts import Part, Result, ShardWork, name_of
from pipeline.verification.workers import fork_server
from pipeline.verification.workers.stall_watch import SILENCE, Alarm, Reporter, StallWatch


class PartVerifier:
    """Verifies parts: what every worker knows of the output and of its source."""

    def __init__(self, manifest: Manifest, source: Source | None) -> None:
        self.manifest, self.source = manifest, source
        self.owners = owners_of(manifest)

    def verify(self, part: Part) -> Result:
        """Returns what was found of a part. Every error is a fault: nothing counts as verified that was not read."""
        # Slow to load, and the process that hands out the parts does not need them.
        from pipeline.verification.shards.recompute import try_rejects
        from pipeline.verification.shards.verify_shard import verify_shard

        result = Result()
        name = part[0] if isinstance(part, list) else next(iter(part.shard.tars.values()))
        try:
            if isinstance(part, ShardWork):
                result = verify_shard(self.manifest, self.owners, part, self.source)
                if self.source is not None:
                    try_rejects(self.manifest, part, self.source, result.faults)
            else:
                result.faults, result.bytes = check_files(self.manifest, part, self.owners)
        except OSError as error:
            result.faults.add(name, why(error))
        except Exception as error:  # hostile content that raises an error nobody expected
            result.faults.add(name, f"cannot be verified: {type(error).__name__}: {printable(error)}")
        return result


def verify_parts(
    verifier: PartVerifier, parts: list[Part], workers: int, alarm: Alarm = SILENCE
) -> Iterator[tuple[int, Result]]:
    """Yields every part's place and result, as they are done."""
    watch = StallWatch(alarm, [name_of(part) for part in parts])
    if workers == 1 or len(parts) <= 1:
        runtime.prepare()
        with watch.running():
            for place, part in enumerate(parts):
                watch.begun(place, os.getpid(), time.monotonic(), time.monotonic())
                result = verifier.verify(part)
                watch.ended(place)
                yield place, result
        return
    fork_server.start()
    reader, writer = fork_server.CONTEXT.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, len(parts)), fork_server.CONTEXT, _start, (verifier, writer))
    with reader, writer, watch.running(reader):
        try:
            with fork_server.without_interrupts():
                places = {pool.submit(_verify, place, part): place for place, part in enumerate(parts)}
            for future in as_completed(places):
                result, place = future.result(), places[future]
                watch.ended(place)
                yield place, result
        except BrokenProcessPool:
            raise PipelineError("a worker died, most likely for lack of memory; try fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


# The state of a worker process: a process pool has no other place for it.
_verifier: PartVerifier
_reporter: Reporter


def _start(verifier: PartVerifier, words: Connection) -> None:
    global _verifier, _reporter
    fork_server.end_with_parent()
    _verifier, _reporter = verifier, Reporter(words)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    runtime.prepare()


def _verify(place: int, part: Part) -> Result:
    with _reporter.working_on(place):
        return _verifier.verify(part)
