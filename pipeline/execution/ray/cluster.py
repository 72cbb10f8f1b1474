"""The executor of ``--address``: builds shards on a Ray cluster that is already running."""

import contextlib
import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, one_line
from pipeline.execution.child_process import PROJECT
from pipeline.execution.device import Device
from pipeline.execution.failure import Failure
from pipeline.execution.gpus import choose
from pipeline.execution.gpus.pool import Servers, build_on_gpus
from pipeline.execution.ray import node_check
from pipeline.execution.ray.address import cluster_environment, our_signal_handlers, quiet_ray
from pipeline.execution.ray.heartbeat import RayHeartbeats
from pipeline.execution.ray.metrics import RayMetrics
from pipeline.execution.ray.node_check import Expected
from pipeline.execution.ray.nodes import MEMORY, NEEDS, Nodes
from pipeline.execution.ray.workers import RayWorkers, named
from pipeline.execution.reporting.listener import Listener
from pipeline.numerics import runtime
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage.store import BUILD


class RayCluster:
    """Builds shards on a cluster.

    Args:
        address: the ``host:port`` of its head.
        workers: the most shards at once; None for as many as its CPUs and memory allow.
        device: what to compute on.
    """

    def __init__(self, address: str, workers: int | None, device: Device) -> None:
        self._address, self._workers, self._device = address, workers, device

    @contextlib.contextmanager
    def start(self, first: ShardTask, listener: Listener) -> Iterator[RayWorkers]:
        """Joins the cluster and checks every node.

        Raises:
            PipelineError: a node differs from this machine, no node can run a shard, or a GPU that was asked for is
                missing.
        """
        lock = first.root / BUILD / "lock" if isinstance(first.root, Path) else None
        with cluster_environment(), quiet_ray() as ray:
            try:
                with _our_code() as code, our_signal_handlers():
                    ray.init(address=self._address, runtime_env=code, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:
                reason = one_line(" ".join(str(error).split()))[:300]
                raise PipelineError(f"--address {self._address}: {reason}") from None
            try:
                expected = Expected(node_check.versions(), node_check.code(), lock, first.run)
                nodes = Nodes(ray, self._address)
                nodes.check(expected, first)
                listener.meter = RayMetrics(first.run)
                yield self._started(ray, nodes, expected)
            finally:
                ray.shutdown()

    def _started(self, ray: Any, nodes: Nodes, expected: Expected) -> RayWorkers:
        servers, computes_on = choose.on_ray(ray, self._device, nodes.gpus())
        # The scheduler retries shards, not Ray. Each worker process checks its node once: nodes may join later.
        remote = ray.remote(num_cpus=1, memory=MEMORY, max_retries=0, scheduling_strategy="SPREAD")(build_on_node)

        def size() -> int:
            room = nodes.room()
            return room if self._workers is None else min(room, self._workers)

        return RayWorkers(
            ray, named(remote, expected, servers), size, RayHeartbeats(ray, expected.run, NEEDS), computes_on
        )


def build_on_node(expected: Expected, servers: Servers, task: ShardTask) -> Progress | Failure:
    """Runs on a node: builds a shard if the node is like the driver's machine."""
    differs = node_check.differences(expected)
    if differs:
        return Failure(f"node {socket.gethostname()} {differs}")
    runtime.prepare()
    return build_on_gpus(servers, task)


@contextlib.contextmanager
def _our_code() -> Iterator[dict[str, Any]]:
    """Yields a runtime environment that sends this package to every worker, unless a Ray job sends its own files.

    The packages are sent as one folder: Ray would put single modules into different folders. Numba's machine code goes with
    them, so that nodes with the same processor need not compile it, which would take each worker many seconds.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "working_dir" in job or "py_modules" in job:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="rank-shards-") as folder:
        for package in ("pipeline", "manifests"):
            shutil.copytree(PROJECT / package, Path(folder) / package, ignore=shutil.ignore_patterns("*.pyc"))
        os.environ["RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES"] = ""  # it would leave out __pycache__
        yield {"working_dir": folder}
