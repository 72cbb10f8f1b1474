"""Runs shard tasks: in this process, or on Ray with one task per shard. Only it and ``cluster`` import Ray."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import cluster, runtime
from pipeline.attempt import ATTEMPTS, Failure, attempt
from pipeline.cluster import Pool
from pipeline.cuts import rehearse
from pipeline.errors import PipelineError
from pipeline.plan import Shard
from pipeline.work import Progress, ShardTask

# Tasks handed to Ray beyond those that run, for each worker: enough that none waits for the driver.
_AHEAD = 1
# Tries of a shard whose node went down: that is rarely the shard's fault, and on preemptible machines it is usual.
_NODES = 10
_LOOK = 2.0  # seconds between looks at how large the cluster is
_OBJECT_STORE = 80 * 2**20  # bytes; only records pass through it

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


def run(
    tasks: list[ShardTask],
    workers: int | None,
    done: Done,
    retry: Retry,
    report: Callable[[Progress], None],
    ready: Callable[[], None],
    address: str | None = None,
) -> None:
    """Build every shard.

    Args:
        workers: processes; 0 for this one, without Ray; None, with an address, for all that the cluster has.
        done: called once per finished shard, in the order in which they finish.
        retry: called before a shard is tried again.
        report: called after every batch of a shard that is built in this process.
        ready: called when the workers stand ready and the first shard begins.
        address: ``host:port`` of a Ray cluster; None for a Ray of our own on this machine.

    Raises:
        PipelineError: the cluster or one of its nodes cannot do the job; nothing has been begun.
        ShardError: a shard failed for good. What other shards have committed stays.
    """
    if address:
        with cluster.connect(address, tasks[0], workers) as pool:
            _run_on_ray(tasks, pool, done, retry, ready)
    elif workers:
        with _local_ray(workers) as pool:
            _run_on_ray(tasks, pool, done, retry, ready)
    else:
        rehearse()
        ready()
        for task in tasks:
            _run_here(task, done, retry, report)


def _run_here(task: ShardTask, done: Done, retry: Retry, report: Callable[[Progress], None]) -> None:
    for tries in range(1, ATTEMPTS + 1):
        result = attempt(task, report)
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


def _run_on_ray(tasks: list[ShardTask], pool: Pool, done: Done, retry: Retry, ready: Callable[[], None]) -> None:
    waiting = deque(tasks)
    tries: Counter[tuple[Shard, type[Failure]]] = Counter()  # of each shard, by what became of them
    running: dict[Any, ShardTask] = {}
    ready()
    while waiting or running:
        most = max(pool.size() * (1 + _AHEAD), 1)
        while waiting and len(running) < most:
            task = waiting.popleft()
            running[pool.submit(task)] = task
        finished, _ = pool.ray.wait(list(running), timeout=_LOOK)
        for reference in finished:
            task = running.pop(reference)
            result = _result(pool.ray, reference, task)
            if isinstance(result, Progress):
                done(task, result)
            else:
                tries[task.shard, type(result)] += 1
                _again_or_raise(task, result, tries[task.shard, type(result)], retry)
                waiting.append(task)


def _warm_up() -> None:
    """Load what a worker needs, and stay long enough that the next one of these gets a worker of its own."""
    runtime.prepare()
    rehearse()
    time.sleep(0.2)


def _result(ray: Any, reference: Any, task: ShardTask) -> Progress | Failure:
    try:
        result: Progress | Failure = ray.get(reference)
        return result
    except ray.exceptions.OutOfMemoryError:
        return Failure(f"shard {task.shard.name}: Ray stopped its worker for want of memory; try fewer --workers", True)
    except ray.exceptions.NodeDiedError:
        return NodeLost(f"shard {task.shard.name}: its node went down", again=True)
    except ray.exceptions.LocalRayletDiedError:  # of no shard: every later one would say so, slowly, three times
        return Failure(
            "Ray has stopped on this machine (its raylet died); the same command goes on from what is committed"
        )
    except ray.exceptions.RayError as error:
        return Failure(f"shard {task.shard.name}: its worker died ({type(error).__name__})", again=True)


@functools.cache
def _token() -> str:
    """A secret of this process: without one Ray leaves ~/.ray/auth_token behind, which later clusters then ask for."""
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until Ray has started: it takes them for itself meanwhile, and dies of them untidily."""
    came: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, lambda number, _: came.append(number)) for stop in stops}
    try:
        yield
    except SystemExit as error:  # Ray's own handler, once it has set it
        came.append(int(error.code or 0))
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    """Ray fails to start in many ways: its own exceptions, sockets with long paths, arguments that are no UTF-8."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise PipelineError(f"Ray could not start ({reason}); --workers 0 builds without it") from None


@contextlib.contextmanager
def _local_ray(workers: int) -> Iterator[Pool]:
    """A Ray of our own on this machine, silent, without a dashboard, usage statistics or traces in the home folder."""
    package_root = str(Path(__file__).resolve().parent.parent)
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")])),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        ray = cluster.import_ray()
        with _signals_later(), _start_errors():
            ray.init(
                address="local",
                num_cpus=workers,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE,
            )
        try:
            warm = ray.remote(num_cpus=1)(_warm_up)
            ray.get([warm.remote() for _ in range(workers)])
            # Retries are ours, so that they are bounded per shard, counted and told.
            yield Pool(ray, ray.remote(num_cpus=1, max_retries=0)(attempt).remote, lambda: workers)
        finally:
            ray.shutdown()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
