"""Runs shard tasks: in this process, or on Ray with one task per shard. The only module that imports Ray."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import runtime
from pipeline.attempt import ATTEMPTS, Failure, attempt
from pipeline.errors import PipelineError
from pipeline.work import Progress, ShardTask

# Tasks handed to Ray beyond those that run, for each worker: enough that none waits for the driver.
_AHEAD = 1
_OBJECT_STORE = 80 * 2**20  # bytes; only records pass through it

Done = Callable[[ShardTask, Progress], None]
Retry = Callable[[ShardTask, Failure], None]


class ShardError(PipelineError):
    """A shard that could not be built; ``details`` is a traceback where the fault is this program's."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def run(
    tasks: list[ShardTask],
    workers: int,
    done: Done,
    retry: Retry,
    report: Callable[[Progress], None],
    ready: Callable[[], None],
) -> None:
    """Build every shard.

    Args:
        workers: processes; 0 for this one, without Ray.
        done: called once per finished shard, in the order in which they finish.
        retry: called before a shard is tried again.
        report: called after every batch of a shard that is built in this process.
        ready: called when the workers stand ready and the first shard begins.

    Raises:
        ShardError: a shard failed for good. What other shards have committed stays.
    """
    if workers:
        _run_on_ray(tasks, workers, done, retry, ready)
    else:
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
    if tries >= ATTEMPTS:
        raise ShardError(f"{failure.message} (tried {ATTEMPTS} times)")
    retry(task, failure)


def _run_on_ray(tasks: list[ShardTask], workers: int, done: Done, retry: Retry, ready: Callable[[], None]) -> None:
    with _local_ray(workers) as ray:
        # Retries are ours, so that they are bounded per shard, counted and told.
        remote = ray.remote(num_cpus=1, max_retries=0)(attempt)
        warm = ray.remote(num_cpus=1)(_warm_up)
        ray.get([warm.remote() for _ in range(workers)])
        waiting = deque((task, 1) for task in tasks)
        running: dict[Any, tuple[ShardTask, int]] = {}
        ready()
        while waiting or running:
            while waiting and len(running) < workers * (1 + _AHEAD):
                task, tries = waiting.popleft()
                running[remote.remote(task)] = (task, tries)
            finished, _ = ray.wait(list(running))
            for reference in finished:
                task, tries = running.pop(reference)
                result = _result(ray, reference, task)
                if isinstance(result, Progress):
                    done(task, result)
                else:
                    _again_or_raise(task, result, tries, retry)
                    waiting.append((task, tries + 1))


def _warm_up() -> None:
    """Import what a worker needs, and stay long enough that the next one of these gets a worker of its own."""
    runtime.prepare()
    time.sleep(0.2)


def _result(ray: Any, reference: Any, task: ShardTask) -> Progress | Failure:
    try:
        result: Progress | Failure = ray.get(reference)
        return result
    except ray.exceptions.OutOfMemoryError:
        return Failure(f"shard {task.shard.name}: Ray stopped its worker for want of memory; try fewer --workers", True)
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
def _local_ray(workers: int) -> Iterator[Any]:
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
        import ray
        import ray._private.worker

        # Ray prints its notice of every dead worker to our standard output, whatever log_to_driver says; we tell it.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
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
            yield ray
        finally:
            ray.shutdown()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
