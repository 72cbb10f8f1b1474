"""Hands shards to the workers of an executor, and decides which failed shards are built again."""

import time
from collections import Counter, deque
from dataclasses import replace

from pipeline.errors import PipelineError
from pipeline.execution import deadly_images
from pipeline.execution.executor import Executor, Workers
from pipeline.execution.failure import Failure, NodeLost, WorkerDied
from pipeline.execution.reporting.listener import Listener
from pipeline.planning.plan import Shard
from pipeline.planning.shard_task import Progress, ShardTask

_TRIES = 3  # of a shard
_TRIES_LOST_NODE = 10  # of a shard whose node was lost: rarely the shard's fault, and usual on preemptible machines
_DEATHS = 2  # of a shard's workers, after which the shard is searched for an image that kills them


class ShardError(PipelineError):
    """A shard that could not be built.

    Attributes:
        details: a traceback if the cause is a bug in this program, else empty.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def run(tasks: list[ShardTask], executor: Executor, listener: Listener) -> None:
    """Builds every shard.

    Raises:
        PipelineError: the executor cannot start; no shard was begun.
        ShardError: a shard failed for good. Shards that are committed stay.
    """
    with executor.start(tasks[0], listener) as workers:
        listener.ready(workers.computes_on)
        with listener.watch.over(workers.heartbeats):
            _Run(tasks, workers, listener).run()


class _Run:
    def __init__(self, tasks: list[ShardTask], workers: Workers, listener: Listener) -> None:
        self._workers, self._listener = workers, listener
        self._waiting = deque(tasks)
        # Shards that may hold a deadly image. They are searched when no other shard is in work, so that the death of a
        # worker has one possible cause.
        self._to_search: deque[ShardTask] = deque()
        self._running = 0
        self._failures: Counter[tuple[Shard, type[Failure]]] = Counter()

    def run(self) -> None:
        while self._waiting or self._to_search or self._running:
            self._submit()
            if not self._running:
                self._waiting.append(self._without_deadly_images(self._to_search.popleft()))
                continue
            for task, result in self._workers.wait():
                self._running -= 1
                if isinstance(result, Progress):
                    self._listener.built(task, result)
                else:
                    self._listener.stopped(task)
                    self._retry(task, result)

    def _submit(self) -> None:
        capacity = self._workers.capacity()
        while self._waiting and self._running < capacity:
            task = self._waiting.popleft()
            self._listener.submitted(task)
            self._workers.submit(task)
            self._running += 1

    def _retry(self, task: ShardTask, failure: Failure) -> None:
        """Queues a failed shard again. Raises ShardError if another try is of no use."""
        suspected = self._count(task, failure)
        if (
            self._workers.sequential
        ):  # the shard is next, after a pause: if the disk is gone, no other shard does better
            if suspected:
                task = self._without_deadly_images(task)
            time.sleep(sum(count for (shard, _), count in self._failures.items() if shard == task.shard))
            self._waiting.appendleft(task)
        else:
            (self._to_search if suspected else self._waiting).append(task)

    def _count(self, task: ShardTask, failure: Failure) -> bool:
        """Returns whether the shard may hold a deadly image. Raises ShardError after the last try."""
        self._failures[task.shard, type(failure)] += 1
        count = self._failures[task.shard, type(failure)]
        suspected = isinstance(failure, WorkerDied) and count == _DEATHS
        if suspected:
            failure = replace(failure, message=f"{failure.message}; looking for an image that kills it")
        if not failure.retryable:
            raise ShardError(failure.message, failure.details)
        most = _TRIES_LOST_NODE if isinstance(failure, NodeLost) else _TRIES
        if count >= most:
            raise ShardError(f"{failure.message} (tried {most} times)")
        self._listener.retried(task, failure)
        return suspected

    def _without_deadly_images(self, task: ShardTask) -> ShardTask:
        """Searches a shard for images that kill their worker.

        Returns:
            The task, with these images marked as rejects. If there are none, its workers died of another cause, and the task
            is unchanged.
        """
        progress = Progress()
        self._listener.searching(task, progress)
        deadly = deadly_images.find(task, progress)
        self._listener.stopped(task)
        if deadly:
            del self._failures[task.shard, WorkerDied]
        return replace(task, deadly={**task.deadly, **deadly})
