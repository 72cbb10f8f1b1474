"""Runs shard tasks: in this process, or on Ray with one task per shard."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import PipelineError
from pipeline.execution import deadly_images
from pipeline.execution.attempt import ATTEMPTS, Failure, WorkerDied, attempt
from pipeline.execution.device import CPU, Device
from pipeline.execution.gpus import choose
from pipeline.execution.ray import cluster, local
from pipeline.execution.ray.cluster import Pool
from pipeline.execution.ray.heartbeat import Board
from pipeline.execution.stall_watch import Watch
from pipeline.numerics.batch import Place
from pipeline.numerics.cut import rehearse
from pipeline.planning.plan import Shard
from pipeline.planning.shard_task import Progress, ShardTask

# Tasks handed to Ray beyond those that run, for each worker: enough that none waits for the driver.
_AHEAD = 1
# Tries of a shard whose node went down: that is rarely the shard's fault, and on preemptible machines it is usual.
_NODES = 10
_DEATHS = 2  # of a shard's workers, after which one of its images is suspected
_LOOK = 2.0  # seconds between looks at how large the cluster is

Done = Callable[[ShardTask, Progress], None]
Retry = Callable[[ShardTask, Failure], None]
Tries = Counter[tuple[Shard, type[Failure]]]  # of each shard, by what became of them


class ShardError(PipelineError):
    """A shard that could not be built; ``details`` is a traceback where the fault is this program's."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class NodeLost(Failure):
    """The node that had the shard in work is gone."""


def run(
    tasks: list[ShardTask],
    workers: int | None,
    done: Done,
    retry: Retry,
    report: Callable[[Progress], None],
    ready: Callable[[str], None],
    watch: Watch,
    address: str | None = None,
    device: Device = CPU,
) -> None:
    """Build every shard.

    Args:
        workers: processes; 0 for this one, without Ray; None, with an address, for all that the cluster has.
        done: called once per finished shard, in the order in which they finish.
        retry: called before a shard is tried again.
        report: called after every batch of a shard that is built in this process.
        ready: called when the workers stand ready and the first shard begins, with what they compute on.
        watch: tells of shards that stand still.
        address: ``host:port`` of a Ray cluster; None for a Ray of our own on this machine.
        device: what to compute on.

    Raises:
        PipelineError: the cluster or one of its nodes cannot do the job, or a card that is asked for is not to be had;
            nothing has been begun.
        ShardError: a shard failed for good. What other shards have committed stays.
    """
    if address:
        with cluster.connect(address, tasks[0], workers, device) as pool:
            _run_on_ray(tasks, pool, done, retry, ready, watch)
    elif workers:
        with local.start(workers, device) as pool:
            _run_on_ray(tasks, pool, done, retry, ready, watch)
    else:
        places, computes_on = choose.in_this_process(device)
        rehearse()
        ready(computes_on)
        with watch.over():
            for task in tasks:
                _run_here(task, places(task), done, retry, report, watch)


def _run_here(
    task: ShardTask, place: Place, done: Done, retry: Retry, report: Callable[[Progress], None], watch: Watch
) -> None:
    def follow(progress: Progress) -> None:
        watch.given(task.shard.name, progress)
        report(progress)

    tries: Tries = Counter()
    while True:
        result = attempt(task, follow, place)
        watch.ended(task.shard.name, isinstance(result, Progress))
        if isinstance(result, Progress):
            return done(task, result)
        if _suspected(task, result, tries, retry):
            task = _without_killers(task, tries, watch)
        time.sleep(tries.total())


def _suspected(task: ShardTask, failure: Failure, tries: Tries, retry: Retry) -> bool:
    """Whether a shard that is to be tried again may have an image that kills. Raises ShardError where it is not tried."""
    tries[task.shard, type(failure)] += 1
    count = tries[task.shard, type(failure)]
    suspected = isinstance(failure, WorkerDied) and count == _DEATHS
    if suspected:
        failure = replace(failure, message=f"{failure.message}; looking for an image that kills it")
    if not failure.again:
        raise ShardError(failure.message, failure.details)
    most = _NODES if isinstance(failure, NodeLost) else ATTEMPTS
    if count >= most:
        raise ShardError(f"{failure.message} (tried {most} times)")
    retry(task, failure)
    return suspected


def _without_killers(task: ShardTask, tries: Tries, watch: Watch) -> ShardTask:
    """The shard without the images that kill; where there are none, it was chance, or somebody from outside."""
    progress = Progress()
    watch.given(task.shard.name, progress)
    found = deadly_images.killers(task, progress)
    watch.ended(task.shard.name, built=False)
    if found:
        del tries[task.shard, WorkerDied]
    return replace(task, killers={**task.killers, **found})


def _run_on_ray(
    tasks: list[ShardTask], pool: Pool, done: Done, retry: Retry, ready: Callable[[str], None], watch: Watch
) -> None:
    waiting = deque(tasks)
    suspects: deque[ShardTask] = deque()  # built when nothing else is in work that could be what kills their workers
    tries: Tries = Counter()
    running: dict[Any, ShardTask] = {}
    board = Board(pool.ray, tasks[0].run, pool.takes)
    ready(pool.computes_on)
    with watch.over(board):
        while waiting or running or suspects:
            most = max(pool.size() * (1 + _AHEAD), 1)
            while waiting and len(running) < most:
                task = waiting.popleft()
                watch.given(task.shard.name)
                running[pool.submit(task)] = task
            if not running:
                waiting.append(_without_killers(suspects.popleft(), tries, watch))
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
                (suspects if _suspected(task, result, tries, retry) else waiting).append(task)


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
