"""What a build did, and the listener that records it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError, one_line
from pipeline.execution.failure import Failure
from pipeline.execution.reporting.events import STDERR, Events
from pipeline.execution.reporting.listener import Listener
from pipeline.execution.reporting.progress import Pace, ProgressLine
from pipeline.execution.reporting.stall_watch import Watch
from pipeline.planning import manifest
from pipeline.planning.job import Job
from pipeline.planning.record import Reject
from pipeline.planning.shard_task import STAGES, Progress, ShardTask
from pipeline.storage.store import Store

# If more than half of the first images are unreadable, the source is the wrong one.
_FIRST = 1000


@dataclass
class NodeWork:
    """What the workers of a node did.

    Attributes:
        images: source images that they put into shards.
        seconds: of their work, summed over all stages.
    """

    images: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second of one worker."""
        return self.images / max(self.seconds, 1e-9)


@dataclass
class Outcome:
    """What a build did.

    Attributes:
        manifest: the manifest of the finished output; empty if the build ended early.
        images: source images that this run put into shards; 0 if the output was complete already.
        shards: shards that this run committed.
        working: seconds from the moment the workers were ready to the last commit.
        seconds: seconds of work by stage, summed over all workers.
        retried: how often each shard was tried again.
        repaired: planes whose eigenvectors were wrong on a GPU and were recomputed by LAPACK.
        nodes: the work of each node, by its host name.
    """

    manifest: dict[str, Any]
    images: int = 0
    shards: int = 0
    working: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    retried: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    nodes: dict[str, NodeWork] = field(default_factory=dict)


class BuildListener(Listener):
    """Records the outcome of a build, writes its events, and stops a build whose source is the wrong one.

    Args:
        workers: processes; None if their number is unknown.
        in_place: images of the shards that were complete before this run.
    """

    def __init__(self, job: Job, store: Store, events: Events, pace: Pace, workers: int | None, in_place: int) -> None:
        super().__init__(pace, ProgressLine(pace, silent(job)), Watch(job.stall, events.say))
        self.outcome = Outcome({})
        self.rejects: list[Reject] = []
        self._job, self._store, self._events = job, store, events
        self._workers, self._in_place = workers, in_place

    @property
    def readable(self) -> int:
        """Images of all committed shards."""
        return self._in_place + self.outcome.images

    def ready(self, computes_on: str) -> None:
        self._store.delete(manifest.NAME)
        super().ready(computes_on)
        counts = {"images": self.pace.images, "shards": self.pace.shards, "workers": self._workers}
        self._events.emit("started", out=str(self._job.out), **counts, device=computes_on)

    def progressed(self, task: ShardTask, progress: Progress) -> None:
        super().progressed(task, progress)
        _check_rejects(self.readable + progress.images, self.rejects + progress.rejects)

    def built(self, task: ShardTask, progress: Progress) -> None:
        outcome = self.outcome
        outcome.images += progress.images
        outcome.shards += 1
        outcome.repaired += progress.repaired
        for stage, seconds in progress.seconds.items():
            outcome.seconds[stage] += seconds
        node = outcome.nodes.setdefault(progress.node, NodeWork())
        node.images += progress.images
        node.seconds += sum(progress.seconds.values())
        outcome.working = self.line.elapsed
        self.rejects.extend(progress.rejects)
        super().built(task, progress)
        self._events.shard(task, progress, self.pace, self.line.elapsed)
        _check_rejects(self.readable, self.rejects)

    def retried(self, task: ShardTask, failure: Failure) -> None:
        super().retried(task, failure)
        self.outcome.retried[task.shard.name] += 1
        message = one_line(failure.message)
        console.tell(f"trying again: {message}")
        self._events.emit("retry", shard=task.shard.name, node=failure.node, message=message)


def silent(job: Job) -> bool:
    """Returns whether stderr shows no progress for people."""
    return job.quiet or job.log_json == STDERR


def _check_rejects(images: int, rejects: list[Reject]) -> None:
    if images + len(rejects) >= _FIRST and len(rejects) > images:
        raise PipelineError(
            f"{len(rejects):,} of the first {images + len(rejects):,} images cannot be read, so this is probably the "
            f"wrong source; the first: {rejects[0].name}: {rejects[0].reason}"
        )
