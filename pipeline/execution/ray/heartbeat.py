"""Heartbeats of workers on Ray: what each worker does at the moment, a few bytes per shard in Ray's key-value store.

This needs no process, no CPU and no file system. The last heartbeat stays in the store if the worker can send no other.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pipeline.planning.shard_task import Progress, ShardTask

EVERY = 2.0  # seconds between two heartbeats of a worker
_NAMESPACE = b"rank-shards"
_READ_TIMEOUT = 10.0  # seconds
_DELETE_TIMEOUT = 2.0  # seconds; short, because a heartbeat that stays does no harm


class Beat(NamedTuple):
    """One heartbeat of a worker.

    Attributes:
        stage, entry: the step of its shard, as in ``Step``.
        node, pid: the host and the process of the worker.
        seconds: since the step began.
        number: differs between any two heartbeats of a shard.
    """

    stage: str
    entry: str
    node: str
    pid: int
    seconds: float
    number: float


def beat(progress: Progress, number: float) -> Beat:
    """Returns a heartbeat for a shard that this process builds."""
    stage, entry, since = progress.now
    return Beat(stage, entry, socket.gethostname(), os.getpid(), round(time.monotonic() - since, 3), number)


@contextlib.contextmanager
def beating(task: ShardTask) -> Iterator[Callable[[Progress], None]]:
    """Sends a heartbeat every two seconds, from a thread, while the block runs.

    Yields:
        a function to call with the progress of the shard, at the beginning and each time it is another object.
    """
    current, stop = [Progress()], threading.Event()

    def send() -> None:
        number = 0
        while True:
            with contextlib.suppress(Exception):  # a heartbeat that cannot be sent must not stop the build
                _put(task, beat(current[0], number))
            number += 1
            if stop.wait(EVERY):
                return

    def follow(progress: Progress) -> None:
        current[0] = progress

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield follow
    finally:
        stop.set()
        thread.join(EVERY)


def _put(task: ShardTask, heartbeat: Beat) -> None:
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(_key(task.run, task.shard.name), json.dumps(heartbeat), namespace=_NAMESPACE)


def _key(run: str, shard: str) -> bytes:
    return f"{run}/{shard}".encode()


class RayHeartbeats:
    """Reads the heartbeats of one run, in the driver.

    Args:
        run: the identity of the run.
        needs: what a shard needs, in words, as in ``1 CPU``.
    """

    def __init__(self, ray: Any, run: str, needs: str) -> None:
        from ray.experimental import internal_kv

        self._ray, self._run, self._needs, self._store = ray, run, needs, internal_kv

    def read(self, shards: Iterable[str]) -> dict[str, Beat]:
        """Returns the last heartbeat of each shard that has one; nothing if Ray does not answer."""
        shard_of = {_key(self._run, shard): shard for shard in shards}
        values: dict[bytes, bytes] = {}
        with contextlib.suppress(Exception):
            client = self._store.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
            values = client.internal_kv_multi_get(list(shard_of), _NAMESPACE, _READ_TIMEOUT)
        return {shard_of[key]: Beat(*json.loads(value)) for key, value in values.items()}

    def room(self) -> str:
        """Returns what a shard needs and how much of that is free, in words."""
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        parts = [
            f"{free.get('CPU', 0):g} of {total.get('CPU', 0):g} CPUs",
            f"{int(free.get('memory', 0)) >> 20} of {int(total.get('memory', 0)) >> 20} MB",
        ]
        return f"each needs {self._needs}, and {' and '.join(parts)} are free"

    def forget(self, shard: str) -> None:
        """Deletes the heartbeat of a shard whose worker has ended."""
        with contextlib.suppress(Exception):  # without a timeout it would wait for a dead server for ever
            client = self._store.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
            client.internal_kv_del(_key(self._run, shard), False, _NAMESPACE, _DELETE_TIMEOUT)
