"""Where workers on Ray say what they are doing: a few bytes for each shard in work, in Ray's own key-value store.

It asks for no process, no CPU and no file system. What a worker said last stays there when it can say no more.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pipeline.execution.attempt import Failure, attempt
from pipeline.numerics.batch import HERE, Place
from pipeline.planning.shard_task import Progress, ShardTask

EVERY = 2.0  # seconds between two words of a worker
_SPACE = b"rank-shards"
_TIMEOUT = 10.0  # seconds for the driver's question
_IMPATIENCE = 2.0  # seconds for what may as well not be done


class Beat(NamedTuple):
    """What a worker says of its shard: its step, where it runs, seconds in this step, and a number that
    every word has for itself."""

    stage: str
    entry: str
    node: str
    pid: int
    seconds: float
    number: float


def beat(progress: Progress, number: float) -> Beat:
    """What this process says of a shard that it has in work."""
    stage, entry, since = progress.now
    return Beat(stage, entry, socket.gethostname(), os.getpid(), round(time.monotonic() - since, 3), number)


def attempt_and_tell(task: ShardTask, place: Place = HERE) -> Progress | Failure:
    """Runs on a worker: one try at a shard, with a word on the board every two seconds."""
    with telling(task) as follow:
        return attempt(task, follow, place)


@contextlib.contextmanager
def telling(task: ShardTask) -> Iterator[Callable[[Progress], None]]:
    """Tell what becomes of a shard from a thread, for as long as the block lasts.

    Yields:
        what to call with the shard's progress, once and whenever it is replaced by another object.
    """
    current, stop = [Progress()], threading.Event()

    def tell() -> None:
        number = 0
        while True:
            with contextlib.suppress(Exception):  # who cannot be told is no reason to stop the work
                _put(task, beat(current[0], number))
            number += 1
            if stop.wait(EVERY):
                return

    def follow(progress: Progress) -> None:
        current[0] = progress

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield follow
    finally:
        stop.set()
        thread.join(EVERY)


def _put(task: ShardTask, said: Beat) -> None:
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(_key(task.run, task.shard.name), json.dumps(said), namespace=_SPACE)


def _key(run: str, shard: str) -> bytes:
    return f"{run}/{shard}".encode()


class Board:
    """The driver's side, for one run.

    Args:
        takes: what a worker takes, in words.
    """

    def __init__(self, ray: Any, run: str, takes: str) -> None:
        from ray.experimental import internal_kv

        self._ray, self._run, self._takes, self._store = ray, run, takes, internal_kv

    def read(self, shards: Iterable[str]) -> dict[str, Beat]:
        """The last word on each shard of which there is one; nothing where Ray does not answer."""
        keys = {_key(self._run, shard): shard for shard in shards}
        found: dict[bytes, bytes] = {}
        with contextlib.suppress(Exception):
            client = self._store.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
            found = client.internal_kv_multi_get(list(keys), _SPACE, _TIMEOUT)
        return {keys[key]: Beat(*json.loads(said)) for key, said in found.items()}

    def room(self) -> str:
        """What a shard takes and what of that is free, in words."""
        every, free = self._ray.cluster_resources(), self._ray.available_resources()
        parts = [
            f"{free.get('CPU', 0):g} of {every.get('CPU', 0):g} CPUs",
            f"{int(free.get('memory', 0)) >> 20} of {int(every.get('memory', 0)) >> 20} MB",
        ]
        return f"each takes {self._takes}, and {' and '.join(parts)} are free"

    def forget(self, shard: str) -> None:
        """A shard's worker has ended: what it said is of no more use."""
        with contextlib.suppress(Exception):  # without a bound it would wait for a dead server without end
            client = self._store.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
            client.internal_kv_del(_key(self._run, shard), False, _SPACE, _IMPATIENCE)
