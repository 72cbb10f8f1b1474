"""A server on every card of a build: started on Ray, found by the processes of its node, replaced when its card fails."""

import itertools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.errors import one_line
from pipeline.execution.attempt import Failure
from pipeline.execution.gpus.client import CardLost, Client, place
from pipeline.execution.gpus.server import THREADS, Answer, Server
from pipeline.execution.gpus.slots import Order
from pipeline.execution.heartbeat import attempt_and_tell
from pipeline.planning.shard_task import Progress, ShardTask

Servers = dict[str, list[Any]]  # actors, by the id of their node

_START = 600.0  # seconds for CuPy and CUDA to load, and to compile, also on a busy network disk
_LOOKS = "looks"  # Ray's group of calls that do not wait behind orders
_RESTARTS = 4  # of a server whose card fails


class Started(NamedTuple):
    """The servers that run, each one's card in words, and why others do not."""

    servers: Servers
    cards: list[str]
    failures: list[str]


def start(ray: Any, cards: Mapping[str, int], namespace: str) -> Started:
    """A server for each card.

    They reserve no cores from Ray: those belong to the shards, each of which has one, and whose process orders from here.

    Args:
        cards: how many, by the id of their node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    actor = ray.remote(
        num_cpus=0, num_gpus=1, max_concurrency=THREADS, max_restarts=_RESTARTS, concurrency_groups={_LOOKS: 1}
    )(Server)
    started = Started({}, [], [])
    asked = {}
    for node, count in cards.items():
        for _ in range(count):
            server = actor.options(scheduling_strategy=On(node, soft=False)).remote(namespace)
            asked[server.ready.options(concurrency_group=_LOOKS).remote()] = (node, server)
    deadline = time.monotonic() + _START
    for answer, (node, server) in asked.items():
        try:
            started.cards.append(ray.get(answer, timeout=max(0.0, deadline - time.monotonic())))
            started.servers.setdefault(node, []).append(server)
        except ray.exceptions.GetTimeoutError:
            ray.kill(server)
            started.failures.append(
                f"a card was not to be had within {_START:.0f} s; others use it, or it does not answer"
            )
        except ray.exceptions.RayError as error:
            ray.kill(server)
            reason = getattr(error, "cause", None) or str(error).strip().splitlines()[-1]
            started.failures.append(one_line(reason)[:300])
    return started


def attempt_on_cards(servers: Servers, task: ShardTask) -> Progress | Failure:
    """Runs on a node: one try at a shard, whose planes go to the node's cards, or where it has none to this core."""
    if not servers:
        return attempt_and_tell(task)
    import ray

    actors = servers.get(ray.get_runtime_context().get_node_id())
    if not actors:
        return attempt_and_tell(task)
    if not _alive(ray, actors):
        return Failure(
            f"shard {task.shard.name}: its card has failed {1 + _RESTARTS} times; look at nvidia-smi and dmesg"
        )
    return attempt_and_tell(task, place(_client(ray, actors).begin, task))


def _alive(ray: Any, actors: list[Any]) -> bool:
    """Whether all servers answer, when those that are just being replaced have had their time."""
    deadline = time.monotonic() + _START
    for actor in actors:
        while True:
            try:
                actor.ready.options(concurrency_group=_LOOKS).remote().future().result(_START)
                break
            except ray.exceptions.ActorUnavailableError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.5)
            except (TimeoutError, ray.exceptions.RayError):
                return False
    return True


_clients: dict[tuple[Any, ...], Client] = {}


def _client(ray: Any, actors: list[Any]) -> Client:
    """This process's, which keeps its slots from shard to shard; its orders go to the cards in turn."""
    key = tuple(actor._actor_id.hex() for actor in actors)
    if key not in _clients:
        turns = itertools.cycle(actors[os.getpid() % len(actors) :] + actors[: os.getpid() % len(actors)])

        def send(order: Order) -> Callable[[], Answer]:
            reference = next(turns).compute.remote(order)

            def wait() -> Answer:
                try:
                    answer: Answer = reference.future().result()  # ray.get would lend this task's core to another
                    return answer
                except ray.exceptions.RayActorError as error:
                    raise CardLost(f"the process of its card died ({type(error).__name__})") from None

            return wait

        _clients[key] = Client(send)
    return _clients[key]
