"""What the scheduler needs to know of the place where shards are built: this process, a local Ray or a Ray cluster."""

from contextlib import AbstractContextManager
from typing import Protocol

from pipeline.execution.failure import Failure
from pipeline.execution.reporting.listener import Listener
from pipeline.execution.reporting.stall_watch import Heartbeats
from pipeline.planning.shard_task import Progress, ShardTask

Result = Progress | Failure


class Workers(Protocol):
    """Workers that are ready to build shards."""

    @property
    def computes_on(self) -> str:
        """The hardware that computes the SVDs, in words."""
        ...

    @property
    def sequential(self) -> bool:
        """Whether they build one shard at a time, in this process."""
        ...

    @property
    def heartbeats(self) -> Heartbeats | None:
        """The heartbeats of workers in other processes; None in this process."""
        ...

    def capacity(self) -> int:
        """Returns how many shards may be submitted at once, at least 1. It may change during a build."""
        ...

    def submit(self, task: ShardTask) -> None:
        """Hands a shard to a worker."""
        ...

    def wait(self) -> list[tuple[ShardTask, Result]]:
        """Waits for a shard to end, or a few seconds, and returns the shards that have ended with their results."""
        ...


class Executor(Protocol):
    """Starts workers and stops them."""

    def start(self, first: ShardTask, listener: Listener) -> AbstractContextManager[Workers]:
        """Starts the workers, which stop when the block ends.

        Args:
            first: a shard of the build, with which nodes of a cluster are checked.
            listener: receives the progress of shards that are built in this process.

        Raises:
            PipelineError: the workers cannot start, a node cannot do the job, or a GPU that was asked for is missing.
        """
        ...
