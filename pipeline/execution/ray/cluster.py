"""An existing Ray cluster: found, checked before work starts, and how much of it may work at once."""

import contextlib
import errno
import functools
import json
import logging
import os
import pickle
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import console
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.execution.attempt import Failure
from pipeline.execution.device import Device
from pipeline.execution.gpus import choose
from pipeline.execution.gpus.pool import Servers, attempt_on_cards
from pipeline.execution.ray import node_check
from pipeline.execution.ray.node_check import Expected
from pipeline.numerics import runtime
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage.location import Location
from pipeline.storage.store import BUILD

MEMORY = 800 * 2**20  # bytes that a shard task may take; with one CPU, what a node must have free for each
_CONNECT = 4.0  # seconds, for the connection and for the first answer each
_PROBE = 120.0  # seconds: a node's first worker has to start, and gets this package's files
_HEADLESS = 40.0  # seconds in which a head may come again; after 60, Ray would end this process in words of its own
_ANSWER = 10.0  # seconds in which a head that takes the call answers
_SKEW = 60.0  # seconds between clocks that are worth a word


class Pool(NamedTuple):
    """Workers: Ray, how to hand them a shard, how many shards they take at once (which may change), what each takes, and
    what they compute on, in words."""

    ray: Any
    submit: Callable[[ShardTask], Any]
    size: Callable[[], int]
    takes: str = "1 CPU"
    computes_on: str = choose.CORES


def find(address: str | None) -> str | None:
    """The cluster to build on as ``host:port``, or None for a Ray of our own on this machine.

    Args:
        address: ``host:port``; ``auto``: the cluster of ``RAY_ADDRESS``, else the one that ``ray start`` last joined
            on this machine; ``local`` or None: none, but inside of a Ray job None means the job's cluster.

    Raises:
        PipelineError: no cluster is there, or nobody answers; within ten seconds.
        UsageError: ``RAY_ADDRESS`` is of another kind.
    """
    if address == "local" or (address is None and not _in_job()):
        return None
    if address is None or address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if _token():
        os.environ["RAY_AUTH_MODE"] = "token"  # read when Ray is first imported
    if "://" in address:
        raise UsageError(f"RAY_ADDRESS is {address}; a build wants the host:port that ray start --head prints")
    if address == "auto":
        from ray._private.services import find_bootstrap_address

        address = find_bootstrap_address(None)
        if not address:
            raise PipelineError("--address auto: no Ray cluster runs on this machine; start or join one with ray start")
    _check_answer(address)
    return address


def _in_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def check_lasts(out: Location) -> None:
    """Refuse an output in the copy of a folder that a Ray job works in, which Ray deletes. Raises PipelineError."""
    if _in_job() and isinstance(out, Path) and "runtime_resources" in out.resolve().parts:
        raise PipelineError(f"--out {out.resolve()} is the job's temporary folder; give a path that every node shares")


def _check_answer(address: str) -> None:
    """Ask for a sign of life: ``ray.init`` itself gives up after two minutes, and not tidily."""
    try:
        _dial(address)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(f"--address {address}: nobody answers ({reason}); is the cluster's head up?") from None
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc  # type: ignore[import-untyped]
    import ray
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    token = _token()
    proof = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        gcs = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            question = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
            answer = gcs.CheckAlive(question, timeout=_CONNECT, wait_for_ready=True, metadata=proof)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise PipelineError(
                    f"--address {address}: the cluster wants a token and does not take {'yours' if proof else 'none'}; "
                    f"set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to what its nodes have"
                ) from None
            raise PipelineError(
                f"--address {address}: what answers there is no Ray head; give the host:port that ray start --head prints"
            ) from None
    if answer.ray_version != ray.__version__:
        raise PipelineError(
            f"--address {address}: the cluster has Ray {answer.ray_version}, this machine {ray.__version__}; "
            f"install the same version"
        )


def _dial(address: str) -> None:
    """Be taken the call by whoever listens there. Raises OSError, ValueError."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()


def import_ray() -> Any:
    """Ray, without its notice of every dead worker: it prints those to our standard output, whatever log_to_driver says."""
    import ray
    import ray._private.worker

    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


@contextlib.contextmanager
def connect(address: str, first: ShardTask, workers: int | None, device: Device) -> Iterator[Pool]:
    """Join the cluster at ``host:port`` and check every node of it.

    Args:
        first: one of the shards to build.
        workers: the most shards at once; None for as many as the cluster's CPUs and memory allow.
        device: what to compute on.

    Raises:
        PipelineError: a node differs from this one, or none can run a shard, or there is no card, which there has to be.
    """
    folder = first.root if isinstance(first.root, Path) else None  # object storage is the same from every node
    before = os.environ.copy()
    os.environ.pop("RAY_ADDRESS", None)  # to Ray, it goes before what it is told
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = import_ray()
    try:
        try:
            with _our_code() as code:
                ray.init(address=address, runtime_env=code, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise PipelineError(f"--address {address}: {one_line(' '.join(str(error).split()))[:300]}") from None
        try:
            expected = Expected(
                node_check.versions(), node_check.code(), folder / BUILD / "lock" if folder else None, first.run
            )
            _check_room(ray, address)
            _check_nodes(ray, expected, first)
            yield _pool(ray, address, expected, workers, device)
        finally:
            ray.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _token() -> str:
    """What Ray itself would show to a cluster that wants a token; empty for nothing."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return ""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        return os.environ.get("RAY_AUTH_TOKEN") or Path(path).read_text().strip()
    return ""


@contextlib.contextmanager
def _our_code() -> Iterator[dict[str, Any]]:
    """This package for every worker, whatever is installed there; but a Ray job's own files go before.

    As one folder: modules that are sent one by one do not come to lie beside each other.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "working_dir" in job or "py_modules" in job:
        yield {}
        return
    root = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory(prefix="rank-shards-") as folder:
        for package in ("pipeline", "manifests"):
            shutil.copytree(root / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        yield {"working_dir": folder}


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(node: dict[str, Any]) -> int:
    """Shards that a node takes at once."""
    resources = node["Resources"]
    return int(min(resources.get("CPU", 0), resources.get("memory", 0) // MEMORY))


def _check_room(ray: Any, address: str) -> None:
    nodes = _nodes(ray)
    if not any(_room(node) for node in nodes):
        cpus = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        memory = max((node["Resources"].get("memory", 0) for node in nodes), default=0)
        raise PipelineError(
            f"--address {address}: none of its {len(nodes)} nodes can run a shard, which takes 1 CPU and "
            f"{MEMORY >> 20} MB; the most that one has is {cpus:g} CPUs, and {int(memory) >> 20} MB"
        )


def _check_nodes(ray: Any, expected: Expected, first: ShardTask) -> None:
    """Ask every node at once. Raises PipelineError, which names the first that differs."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    question = replace(expected, read=pickle.dumps((first.source, first.entries[0])))
    remote = ray.remote(num_cpus=0, max_retries=1)(node_check.ask)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes(ray)}
    start = time.time()
    asked = {remote.options(scheduling_strategy=On(node, soft=False)).remote(question): node for node in nodes}
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE)
    for reference in answered:
        name = nodes[asked[reference]]
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = one_line(" ".join(str(error).split()))[:300]
            raise PipelineError(f"node {name} cannot run this program: {reason}") from None
        label = f"node {name}" + f" ({answer.host})" * (answer.host != name)
        if answer.differs:
            raise PipelineError(f"{label} {answer.differs}")
        skew = max(start - answer.clock, answer.clock - time.time())
        if skew > _SKEW:
            console.tell(f"{label}: its clock is {skew:,.0f} s away from this one's; object storage may refuse it")
    if silent:
        raise PipelineError(f"node {nodes[asked[silent[0]]]} did not start a worker within {_PROBE:.0f} s")


def _pool(ray: Any, address: str, expected: Expected, workers: int | None, device: Device) -> Pool:
    there = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in _nodes(ray)}
    servers, computes_on = choose.on_ray(ray, device, there)
    # Retries are ours. Nodes that join later are checked by each worker process, once.
    remote = ray.remote(num_cpus=1, memory=MEMORY, max_retries=0, scheduling_strategy="SPREAD")(build_on_node)
    room, heard = 0, time.monotonic()

    def size() -> int:
        nonlocal room, heard
        try:
            _dial(address)
            room, heard = _within(_ANSWER, lambda: sum(_room(node) for node in _nodes(ray))), time.monotonic()
        except OSError as error:
            if time.monotonic() - heard > _HEADLESS:
                raise PipelineError(
                    f"--address {address}: the cluster's head is gone ({error.strerror or error}); the same command goes on "
                    f"from what is committed"
                ) from None
        return room if workers is None else min(room, workers)

    takes = f"1 CPU and {MEMORY >> 20} MB"
    return Pool(ray, functools.partial(remote.remote, expected, servers), size, takes, computes_on)


def _within(seconds: float, ask: Callable[[], int]) -> int:
    """The answer. Raises TimeoutError where it takes longer: of a head that goes meanwhile, Ray waits for it for ever."""
    answers: list[int] = []

    def get() -> None:
        with contextlib.suppress(Exception):  # of Ray, when it is shut down meanwhile
            answers.append(ask())

    thread = threading.Thread(target=get, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise TimeoutError(errno.ETIMEDOUT, "it does not answer")
    return answers[0]


def build_on_node(expected: Expected, servers: Servers, task: ShardTask) -> Progress | Failure:
    """Runs on the node: one try at a shard, if this node is like the driver's."""
    differs = node_check.differences(expected)
    if differs:
        return Failure(f"node {socket.gethostname()} {differs}")
    runtime.prepare()
    return attempt_on_gpus(servers, task)
