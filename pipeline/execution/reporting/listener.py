"""What a command does when something happens to one of its shards: the base of the listeners of builds and repairs."""

from typing import Protocol

from pipeline.execution.failure import Failure
from pipeline.execution.reporting.progress import Pace, ProgressLine
from pipeline.execution.reporting.stall_watch import Watch
from pipeline.planning.shard_task import Progress, ShardTask


class Meter(Protocol):
    """Counts what happens to shards, for a monitoring system."""

    def built(self, progress: Progress) -> None:
        """A shard is committed."""
        ...

    def retried(self, failure: Failure) -> None:
        """A failed shard will be tried again."""
        ...


class Listener:
    """Keeps the progress line and the stall watch up to date. Subclasses add what else their command does.

    Args:
        pace: counts the shards that are built.
        line: shows the pace.
        watch: reports shards that make no progress.

    Attributes:
        meter: set by an executor whose workers have a monitoring system; else None.
    """

    def __init__(self, pace: Pace, line: ProgressLine, watch: Watch) -> None:
        self.pace, self.line, self.watch = pace, line, watch
        self.meter: Meter | None = None

    def ready(self, computes_on: str) -> None:
        """The workers are ready, and the first shard is about to begin."""
        self.line.start(computes_on)

    def submitted(self, task: ShardTask) -> None:
        """A shard was handed to a worker."""
        self.watch.started(task.shard.name)

    def progressed(self, task: ShardTask, progress: Progress) -> None:
        """A shard that is built in this process begins, or a batch of it is done."""
        self.watch.started(task.shard.name, progress)
        self.pace.working(progress.images + len(progress.rejects), progress.seconds)
        self.line.show()

    def searching(self, task: ShardTask, progress: Progress) -> None:
        """This process searches a shard for images that kill their worker."""
        self.watch.started(task.shard.name, progress)

    def built(self, task: ShardTask, progress: Progress) -> None:
        """A shard is committed."""
        self.watch.ended(task.shard.name)
        self.pace.finished(len(task.entries), progress.seconds)
        self.line.show()
        if self.meter:
            self.meter.built(progress)

    def stopped(self, task: ShardTask) -> None:
        """Nobody works on a shard now: building it has failed, or the search for its deadly images has ended."""
        self.watch.ended(task.shard.name, built=False)

    def retried(self, task: ShardTask, failure: Failure) -> None:
        """A failed shard will be tried again."""
        if self.meter:
            self.meter.retried(failure)
