"""The executor of ``--workers N``: starts Ray on this machine, silent, without dashboard, statistics or files in the home
folder."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pipeline.errors import PipelineError
from pipeline.execution import compiled_loops
from pipeline.execution.child_process import python_path
from pipeline.execution.device import CPU, Device
from pipeline.execution.gpus import choose
from pipeline.execution.gpus.pool import build_on_gpus
from pipeline.execution.ray.address import quiet_ray, restored_environment
from pipeline.execution.ray.heartbeat import RayHeartbeats
from pipeline.execution.ray.temporary import ray_folder
from pipeline.execution.ray.workers import RayWorkers, named
from pipeline.execution.reporting.listener import Listener
from pipeline.numerics import runtime
from pipeline.planning.shard_task import ShardTask

_OBJECT_STORE = 80 * 2**20  # bytes; only results of shards pass through it


class LocalRay:
    """Builds shards in processes on this machine.

    Args:
        workers: their number.
        device: what to compute on.
    """

    def __init__(self, workers: int, device: Device = CPU) -> None:
        self._workers, self._device = workers, device

    @contextlib.contextmanager
    def start(self, first: ShardTask, listener: Listener) -> Iterator[RayWorkers]:
        """Starts Ray and waits until all workers are ready. Raises PipelineError if Ray cannot start."""
        gpus = self._device.gpus_here()
        with ray_folder() as folder, _environment(), quiet_ray() as ray:
            try:
                # Before Ray starts, not beside it: Ray forks, and a thread that computes would leave its locks held in
                # the child. OpenBLAS waits for ever then.
                sides = compiled_loops.sides_of(first)
                compiled_loops.load(sides, listener.line.quiet)
                self._init(ray, folder, gpus)
                warm_up = ray.remote(num_cpus=1)(_warm_up)
                ray.get([warm_up.remote(sides) for _ in range(self._workers)])
                yield self._started(ray, gpus, first.run)
            finally:
                with _signals_later():  # a shutdown that is interrupted leaves processes behind
                    ray.shutdown()

    def _init(self, ray: Any, folder: Path, gpus: int) -> None:
        with _signals_later(), _start_errors(), _private_ray():
            ray.init(
                address="local",
                job_config=_job_config(),
                _temp_dir=str(folder),
                num_cpus=self._workers,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE,
            )

    def _started(self, ray: Any, gpus: int, run: str) -> RayWorkers:
        servers, computes_on = choose.on_ray(ray, self._device, {ray.get_runtime_context().get_node_id(): gpus})
        # The scheduler retries shards, not Ray, so that retries are bounded per shard, counted and reported.
        remote = ray.remote(num_cpus=1, max_retries=0)(build_on_gpus)
        return RayWorkers(ray, named(remote, servers), self._size, RayHeartbeats(ray, run, "1 CPU"), computes_on)

    def _size(self) -> int:
        """Returns the number of workers. Raises PipelineError if Ray's server (GCS) has died.

        Without the GCS no shard is handed out, and after a minute Ray would end this process with its own message.
        """
        from ray._private import worker

        node = cast(Any, worker)._global_node
        if any(kind == "gcs_server" for kind, _ in node.dead_processes()):
            raise PipelineError(
                "Ray has stopped on this machine (its GCS died); the same command continues from what is committed"
            )
        return self._workers


def _job_config() -> Any:
    """Returns Ray's settings of this job, with the folders that its workers search for modules before all others.

    Ray would add the current folder: a user's ``pipeline.py`` or ``random.py`` there would replace ours and Python's. Only
    the folder stays that this process searches first: that of the user's script, or of a notebook.
    """
    from ray.job_config import JobConfig

    class Config(JobConfig):
        def _serialize(self) -> Any:
            first = os.path.realpath(sys.path[0])
            self._py_driver_sys_path = [path for path in self._py_driver_sys_path if os.path.realpath(path) == first]
            return super()._serialize()

    return Config()


def _warm_up(sides: tuple[int, ...]) -> None:
    """Loads what a worker needs, and takes so long that the next call gets another worker."""
    runtime.prepare()
    compiled_loops.load(sides, quiet=True)  # the driver has said it
    time.sleep(0.2)


@functools.cache
def _token() -> str:
    """Returns a secret for all Rays of this process, which reads it once.

    Without a secret Ray leaves ~/.ray/auth_token behind, and later clusters would ask for it.
    """
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Sets the variables that Ray and its workers read, and restores the environment."""
    settings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        "PYTHONPATH": python_path(),
    }
    with restored_environment():
        os.environ.update(settings)
        yield


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Delays Ctrl-C and SIGTERM until Ray has started or stopped: one that arrives meanwhile would leave processes behind.

    Raises:
        KeyboardInterrupt: at the end of the block, if a signal arrived.
    """
    arrived: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    """Turns any error of Ray's start into one message: its own exceptions, long socket paths, arguments not in UTF-8."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise PipelineError(f"Ray could not start ({reason}); --workers 0 builds without it") from None


@contextlib.contextmanager
def _private_ray() -> Iterator[None]:
    """Patches functions of Ray while it starts.

    - It starts as on macOS, on the loopback interface only.
    - It starts only the processes that a build needs. The API server would also ask the cloud for the machine's identity,
      even without usage statistics. The monitor is for autoscaling, the log monitor for ``log_to_driver``. Each of the
      three takes a second of processor time.
    """
    from ray._private import node, ray_constants

    patches: tuple[tuple[Any, str, Any], ...] = (
        (ray_constants, "ENABLE_RAY_CLUSTER", False),
        (node.Node, "start_api_server", lambda *_, **__: None),
        (node.Node, "start_monitor", lambda _: None),
        (node.Node, "start_log_monitor", lambda _: None),
    )
    before = [getattr(owner, name) for owner, name, _ in patches]
    for owner, name, patch in patches:
        setattr(owner, name, patch)
    try:
        yield
    finally:
        for (owner, name, _), original in zip(patches, before, strict=True):
            setattr(owner, name, original)
