"""A Ray of our own on this machine, silent, without a dashboard, usage statistics or traces in the home folder."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pipeline.errors import PipelineError
from pipeline.execution.device import CPU, Device
from pipeline.execution.gpus import choose
from pipeline.execution.gpus.pool import attempt_on_cards
from pipeline.execution.ray import cluster
from pipeline.execution.ray.cluster import Pool
from pipeline.numerics import runtime
from pipeline.numerics.cut import rehearse

_OBJECT_STORE = 80 * 2**20  # bytes; only records pass through it


@functools.cache
def _token() -> str:
    """A secret of this process: without one Ray leaves ~/.ray/auth_token behind, which later clusters then ask for."""
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until Ray has started, or ended: it takes them for itself meanwhile, and dies of them
    untidily."""
    came: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, lambda number, _: came.append(number)) for stop in stops}
    try:
        yield
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
def _alone() -> Iterator[None]:
    """Ray starts as on macOS, on the loopback interface, without the process that asks the cloud which one it is (for
    statistics, also where these are off), which takes a second as well, and without its handler of SIGTERM, whose exception
    gets lost where it comes in a finaliser."""
    from ray._private import node, ray_constants, utils

    others: tuple[tuple[Any, str, Any], ...] = (
        (ray_constants, "ENABLE_RAY_CLUSTER", False),
        (node.Node, "start_api_server", lambda *_, **__: None),
        (utils, "set_sigterm_handler", lambda _: None),
    )
    before = [getattr(of, name) for of, name, _ in others]
    for of, name, other in others:
        setattr(of, name, other)
    try:
        yield
    finally:
        for (of, name, _), own in zip(others, before, strict=True):
            setattr(of, name, own)


@contextlib.contextmanager
def start(workers: int, device: Device = CPU) -> Iterator[Pool]:
    """Start it with so many workers, which stand ready, and the cards; it ends with the block. Raises PipelineError."""
    gpus = device.cards_here()
    package_root = str(Path(__file__).resolve().parents[3])
    settings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
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
        with _signals_later(), _start_errors(), _alone():
            ray.init(
                address="local",
                num_cpus=workers,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE,
            )
        try:
            warm = ray.remote(num_cpus=1)(_warm_up)
            ray.get([warm.remote() for _ in range(workers)])
            servers, computes_on = choose.on_ray(ray, device, {ray.get_runtime_context().get_node_id(): gpus})
            # Retries are ours, so that they are bounded per shard, counted and told.
            work = ray.remote(num_cpus=1, max_retries=0)(attempt_on_gpus)
            yield Pool(ray, functools.partial(work.remote, servers), lambda: _living(workers), computes_on=computes_on)
        finally:
            with _signals_later():  # a shutdown that is interrupted leaves processes behind for good
                ray.shutdown()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _living(workers: int) -> int:
    """The number of workers; PipelineError where Ray's server (GCS) has died: no shard is given out any more, and after a
    minute Ray would end this process in words of its own."""
    from ray._private import worker

    node = cast(Any, worker)._global_node
    if any(kind == "gcs_server" for kind, _ in node.dead_processes()):
        raise PipelineError(
            "Ray has stopped on this machine (its GCS died); the same command goes on from what is committed"
        )
    return workers


def _warm_up() -> None:
    """Load what a worker needs, and stay long enough that the next one of these gets a worker of its own."""
    runtime.prepare()
    rehearse()
    time.sleep(0.2)
