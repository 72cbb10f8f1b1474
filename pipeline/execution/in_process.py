"""The executor of ``--workers 0``: builds shards in this process, one after the other, without Ray."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.execution import compiled_loops
from pipeline.execution.build_shard import try_build_shard
from pipeline.execution.device import CPU, Device
from pipeline.execution.executor import Result
from pipeline.execution.failure import Failure
from pipeline.execution.gpus import choose
from pipeline.execution.reporting.listener import Listener
from pipeline.numerics.batch import Place
from pipeline.planning.shard_task import Progress, ShardTask


class ThisProcess:
    """Builds shards in this process.

    Args:
        device: what to compute on.
    """

    def __init__(self, device: Device = CPU) -> None:
        self._device = device

    @contextlib.contextmanager
    def start(self, first: ShardTask, listener: Listener) -> Iterator["_InProcessWorkers"]:
        places, computes_on = choose.in_this_process(self._device)
        compiled_loops.load(compiled_loops.sides_of(first), listener.line.quiet)
        yield _InProcessWorkers(places, computes_on, listener)


class _InProcessWorkers:
    sequential, heartbeats = True, None

    def __init__(self, places: Callable[[ShardTask], Place], computes_on: str, listener: Listener) -> None:
        self.computes_on = computes_on
        self._places, self._listener = places, listener
        self._submitted: list[ShardTask] = []

    def capacity(self) -> int:
        return 1

    def submit(self, task: ShardTask) -> None:
        self._submitted.append(task)

    def wait(self) -> list[tuple[ShardTask, Result]]:
        task = self._submitted.pop()

        def report(progress: Progress) -> None:
            self._listener.progressed(task, progress)

        result = try_build_shard(task, self._places(task), report)
        return [(task, replace(result, node=socket.gethostname()) if isinstance(result, Failure) else result)]
