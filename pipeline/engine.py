"""Runs shard tasks: in this process, or on Ray with one task per shard."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline import cluster, isolate, local_ray
from pipeline.attempt import ATTEMPTS, Failure, attempt
from pipeline.board import Board
from pipeline.cluster import Pool
from pipeline.cuts import rehearse
from pipeline.errors import PipelineError
from pipeline.plan import Shard
from pipeline.watch import Watch
from pipeline.work import Progress, ShardTask

# Tasks handed to Ray beyond those that run, for each worker: enough that none waits for the driver.
_AHEAD = 1
# Tries of a shard whose node went down: that is rarely the shard's fault, and on preemptible machines it is usual.
_NODES = 10
_DEATHS = 2  # of a shard's workers, after which one of its images is suspected
_LOOK = 2.0  # seconds between looks at how large the cluster is

Done = Callable[[ShardTask, Progress], None]
Retry = Callable[[ShardTask, Failure], None]


class ShardError(PipelineError):
    """A shard that could not be built; ``details`` is a traceback where the fault is this program's."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class NodeLost(Failure):
    """The node that had the shard in work is gone."""


@dataclass(frozen=True)
class WorkerDied(Failure):
    """The process that had the shard in work is gone."""


def run(
    tasks: list[ShardTask],
    workers: int | None,
    done: Done,
    retry: Retry,
    report: Callable[[Progress], None],
    ready: Callable[[], None],
    watch: Watch,
    address: str | None = None,
) -> None:
    """Build every shard.

    Args:
        workers: processes; 0 for this one, without Ray; None, with an address, for all that the cluster has.
        done: called once per finished shard, in the order in which they finish.
        retry: called before a shard is tried again.
        report: called after every batch of a shard that is built in this process.
        ready: called when the workers stand ready and the first shard begins.
        watch: tells of shards that stand still.
        address: ``host:port`` of a Ray cluster; None for a Ray of our own on this machine.

    Raises:
        PipelineError: the cluster or one of its nodes cannot do the job; nothing has been begun.
        ShardError: a shard failed for good. What other shards have committed stays.
    """
    if address:
        with cluster.connect(address, tasks[0], workers) as pool:
            _run_on_ray(tasks, pool, done, retry, ready, watch)
    elif workers:
        with local_ray.start(workers) as pool:
            _run_on_ray(tasks, pool, done, retry, ready, watch)
    else:
        rehearse()
        ready()
        with watch.over():
            for task in tasks:
                _run_here(task, done, retry, report, watch)


def _run_here(task: ShardTask, done: Done, retry: Retry, report: Callable[[Progress], None], watch: Watch) -> None:
    def follow(progress: Progress) -> None:
        watch.given(task.shard.name, progress)
        report(progress)

    for tries in range(1, ATTEMPTS + 1):
        result = attempt(task, follow)
        watch.ended(task.shard.name, isinstance(result, Progress))
        if isinstance(result, Progress):
            return done(task, result)
        _again_or_raise(task, result, tries, retry)
        time.sleep(tries)


def _again_or_raise(task: ShardTask, failure: Failure, tries: int, retry: Retry) -> None:
    if not failure.again:
        raise ShardError(failure.message, failure.details)
    most = _NODES if isinstance(failure, NodeLost) else ATTEMPTS
    if tries >= most:
        raise ShardError(f"{failure.message} (tried {most} times)")
    retry(task, failure)


def _run_on_ray(
    tasks: list[ShardTask], pool: Pool, done: Done, retry: Retry, ready: Callable[[], None], watch: Watch
) -> None:
    waiting = deque(tasks)
    suspects: deque[ShardTask] = deque()  # built when nothing else is in work that could be what kills their workers
    tries: Counter[tuple[Shard, type[Failure]]] = Counter()  # of each shard, by what became of them
    running: dict[Any, ShardTask] = {}
    board = Board(pool.ray, tasks[0].run, pool.takes)
    ready()
    with watch.over(board):
        while waiting or running or suspects:
            most = max(pool.size() * (1 + _AHEAD), 1)
            while waiting and len(running) < most:
                task = waiting.popleft()
                watch.given(task.shard.name)
                running[pool.submit(task)] = task
            if not running:
                task = suspects.popleft()
                found = _killers(task, watch)
                if found:  # else it was chance, or somebody from outside: one more try
                    del tries[task.shard, WorkerDied]
                waiting.append(replace(task, killers={**task.killers, **found}))
                continue
            finished, _ = pool.ray.wait(list(running), timeout=_LOOK)
            for reference in finished:
                task = running.pop(reference)
                result = _result(pool.ray, reference, task)
                watch.ended(task.shard.name, isinstance(result, Progress))
                board.forget(task.shard.name)
                if isinstance(result, Progress):
                    done(task, result)
                    continue
                tries[task.shard, type(result)] += 1
                suspected = isinstance(result, WorkerDied) and tries[task.shard, WorkerDied] == _DEATHS
                if suspected:
                    result = replace(result, message=f"{result.message}; looking for an image that kills it")
                _again_or_raise(task, result, tries[task.shard, type(result)], retry)
                (suspects if suspected else waiting).append(task)


def _killers(task: ShardTask, watch: Watch) -> dict[int, str]:
    progress = Progress()
    watch.given(task.shard.name, progress)
    found = isolate.killers(task, progress)
    watch.ended(task.shard.name, built=False)
    return found


def _result(ray: Any, reference: Any, task: ShardTask) -> Progress | Failure:
    try:
        result: Progress | Failure = ray.get(reference)
        return result
    except ray.exceptions.OutOfMemoryError:
        return WorkerDied(
            f"shard {task.shard.name}: Ray stopped its worker for want of memory; try fewer --workers", True
        )
    except ray.exceptions.NodeDiedError:
        return NodeLost(f"shard {task.shard.name}: its node went down", again=True)
    except ray.exceptions.LocalRayletDiedError:  # of no shard: every later one would say so, slowly, three times
        return Failure(
            "Ray has stopped on this machine (its raylet died); the same command goes on from what is committed"
        )
    except ray.exceptions.WorkerCrashedError as error:
        return WorkerDied(f"shard {task.shard.name}: its worker died ({type(error).__name__})", again=True)
    except ray.exceptions.RayError as error:
        return Failure(f"shard {task.shard.name}: its worker died ({type(error).__name__})", again=True)
