"""Checks every node of a cluster before a build starts, and counts the shards that the nodes can build at once."""

import contextlib
import errno
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError, one_line
from pipeline.execution.ray import address, node_check
from pipeline.execution.ray.node_check import Expected
from pipeline.planning.shard_task import ShardTask

MEMORY = 800 * 2**20  # bytes that a shard may take
NEEDS = f"1 CPU and {MEMORY >> 20} MB"  # of free room on a node, for each shard
_CHECK = 120.0  # seconds for all nodes; the first worker of a node has to start, and receives this package's files
_HEADLESS = 40.0  # seconds without an answer of the head; after 60 s Ray would end this process with its own message
_ANSWER = 10.0  # seconds for an answer of a head that accepts the connection
_SKEW = 60.0  # seconds between two clocks that are worth a warning


class Nodes:
    """The nodes of a cluster.

    Args:
        ray: the module, connected to the cluster.
        head: the ``host:port`` of the cluster.
    """

    def __init__(self, ray: Any, head: str) -> None:
        self._ray, self._head = ray, head
        self._room, self._answered = 0, time.monotonic()

    def gpus(self) -> dict[str, int]:
        """Returns the GPUs of each node by the id of the node."""
        return {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in self._alive()}

    def room(self) -> int:
        """Returns how many shards all nodes can build at once. Raises PipelineError if the head is gone."""
        try:
            address.dial(self._head)
            self._room = _within(_ANSWER, lambda: sum(_room(node) for node in self._alive()))
            self._answered = time.monotonic()
        except OSError as error:
            if time.monotonic() - self._answered > _HEADLESS:
                raise PipelineError(
                    f"--address {self._head}: the cluster's head is gone ({error.strerror or error}); the same command "
                    f"continues from what is committed"
                ) from None
        return self._room

    def check(self, expected: Expected, first: ShardTask) -> None:
        """Checks all nodes at once.

        Args:
            first: a shard of the build, whose first image every node has to read.

        Raises:
            PipelineError: no node can run a shard, or a node differs from the driver; names the first such node.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        self._check_room()
        question = replace(expected, read=pickle.dumps((first.source, first.entries[0])))
        remote = self._ray.remote(num_cpus=0, max_retries=1)(node_check.check)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in self._alive()}
        start = time.time()
        asked = {remote.options(scheduling_strategy=On(node, soft=False)).remote(question): node for node in nodes}
        answered, silent = self._ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK)
        for reference in answered:
            self._check_answer(reference, nodes[asked[reference]], start)
        if silent:
            raise PipelineError(f"node {nodes[asked[silent[0]]]} did not start a worker within {_CHECK:.0f} s")

    def _check_answer(self, reference: Any, name: str, start: float) -> None:
        """Checks the answer of a node that was asked at ``start``, in seconds since 1970."""
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = one_line(" ".join(str(error).split()))[:300]
            raise PipelineError(f"node {name} cannot run this program: {reason}") from None
        label = f"node {name}" + f" ({answer.host})" * (answer.host != name)
        if answer.differs:
            raise PipelineError(f"{label} {answer.differs}")
        skew = max(start - answer.clock, answer.clock - time.time())
        if skew > _SKEW:
            console.tell(f"{label}: its clock is {skew:,.0f} s away from this one's; object storage may refuse it")

    def _check_room(self) -> None:
        nodes = self._alive()
        if not any(_room(node) for node in nodes):
            cpus = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
            memory = max((node["Resources"].get("memory", 0) for node in nodes), default=0)
            raise PipelineError(
                f"--address {self._head}: none of its {len(nodes)} nodes can run a shard, which needs {NEEDS}; the largest "
                f"have {cpus:g} CPUs, and {int(memory) >> 20} MB"
            )

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def _room(node: dict[str, Any]) -> int:
    """Returns how many shards a node can build at once."""
    resources = node["Resources"]
    return int(min(resources.get("CPU", 0), resources.get("memory", 0) // MEMORY))


def _within(seconds: float, ask: Callable[[], int]) -> int:
    """Returns the answer of ``ask``. Raises TimeoutError if it takes longer: Ray waits for ever for a head that is gone."""
    answers: list[int] = []

    def get() -> None:
        with contextlib.suppress(Exception):  # Ray raises if it is shut down meanwhile
            answers.append(ask())

    thread = threading.Thread(target=get, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise TimeoutError(errno.ETIMEDOUT, "it does not answer")
    return answers[0]
