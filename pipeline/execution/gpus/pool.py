"""Runs a server for every GPU of a build: starts them on Ray, and connects the workers of their node with them."""

import itertools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.errors import one_line
from pipeline.execution.build_shard import try_build_shard
from pipeline.execution.failure import Failure
from pipeline.execution.gpus.client import Client, GpuLost, place
from pipeline.execution.gpus.server import THREADS, Answer, Server
from pipeline.execution.gpus.slots import Order
from pipeline.execution.ray.heartbeat import beating
from pipeline.numerics.batch import HERE, Place
from pipeline.planning.shard_task import Progress, ShardTask

Servers = dict[str, list[Any]]  # Ray actors, by the id of their node

_START = 600.0  # seconds for CuPy and CUDA to load and compile, also from a busy network disk
_CONTROL = "control"  # Ray's concurrency group for calls that must not wait behind orders
_RESTARTS = 4  # of a server whose GPU fails


class Started(NamedTuple):
    """Result of starting the servers.

    Attributes:
        servers: those that run.
        gpus: the GPU of each one, in words.
        failures: why the others do not run.
    """

    servers: Servers
    gpus: list[str]
    failures: list[str]


def start(ray: Any, gpus: Mapping[str, int], namespace: str) -> Started:
    """Starts a server for each GPU.

    Servers reserve no cores from Ray. Each core belongs to a shard, and its worker sends orders from there.

    Args:
        ray: the module.
        gpus: number of GPUs by node id.
        namespace: the module whose arrays are on the GPU.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    actor = ray.remote(
        num_cpus=0, num_gpus=1, max_concurrency=THREADS, max_restarts=_RESTARTS, concurrency_groups={_CONTROL: 1}
    )(Server)
    started = Started({}, [], [])
    starting = {}
    for node, count in gpus.items():
        for _ in range(count):
            server = actor.options(scheduling_strategy=On(node, soft=False)).remote(namespace)
            starting[server.ready.options(concurrency_group=_CONTROL).remote()] = (node, server)
    deadline = time.monotonic() + _START
    for answer, (node, server) in starting.items():
        try:
            started.gpus.append(ray.get(answer, timeout=max(0.0, deadline - time.monotonic())))
            started.servers.setdefault(node, []).append(server)
        except ray.exceptions.GetTimeoutError:
            ray.kill(server)
            started.failures.append(f"a GPU did not start within {_START:.0f} s; others use it, or it does not respond")
        except ray.exceptions.RayError as error:
            ray.kill(server)
            reason = getattr(error, "cause", None) or str(error).strip().splitlines()[-1]
            started.failures.append(one_line(reason)[:300])
    return started


def build_on_gpus(servers: Servers, task: ShardTask) -> Progress | Failure:
    """Builds a shard in a worker of a node. The GPUs of the node compute its planes, or this core if it has none."""
    if not servers:
        return _build_with_heartbeat(task)
    import ray

    actors = servers.get(ray.get_runtime_context().get_node_id())
    if not actors:
        return _build_with_heartbeat(task)
    if not _alive(ray, actors):
        return Failure(
            f"shard {task.shard.name}: its GPU has failed {1 + _RESTARTS} times; look at nvidia-smi and dmesg"
        )
    return _build_with_heartbeat(task, place(_client(ray, actors).begin, task))


def _alive(ray: Any, actors: list[Any]) -> bool:
    """Returns whether all servers respond. Waits for servers that are being replaced."""
    deadline = time.monotonic() + _START
    for actor in actors:
        while True:
            try:
                actor.ready.options(concurrency_group=_CONTROL).remote().future().result(_START)
                break
            except ray.exceptions.ActorUnavailableError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.5)
            except (TimeoutError, ray.exceptions.RayError):
                return False
    return True


# Of a worker process, by the ids of its servers, so that its slots are reused from shard to shard. Ids are unique: another
# build, with other servers, has another client.
_clients: dict[tuple[str, ...], Client] = {}


def _client(ray: Any, actors: list[Any]) -> Client:
    """Returns this process's client. It sends its orders to the servers in turn."""
    key = tuple(actor._actor_id.hex() for actor in actors)
    if key not in _clients:
        first = os.getpid() % len(actors)  # so that not all processes begin with the same server
        turns = itertools.cycle(actors[first:] + actors[:first])

        def send(order: Order) -> Callable[[], Answer]:
            reference = next(turns).compute.remote(order)

            def wait() -> Answer:
                try:
                    answer: Answer = reference.future().result()  # ray.get would give this task's core to another task
                    return answer
                except ray.exceptions.RayActorError as error:
                    raise GpuLost(f"the process of its GPU died ({type(error).__name__})") from None

            return wait

        _clients[key] = Client(send)
    return _clients[key]


def _build_with_heartbeat(task: ShardTask, place: Place = HERE) -> Progress | Failure:
    """Builds a shard on a worker."""
    with beating(task) as follow:
        return try_build_shard(task, place, follow)
