"""Workers on Ray: one Ray task per shard, with the name of the shard, on a local Ray or on a cluster."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.execution.failure import Failure, NodeLost, WorkerDied
from pipeline.execution.ray.heartbeat import RayHeartbeats
from pipeline.planning.shard_task import Progress, ShardTask

# Tasks that are submitted in addition to those that run, for each worker, so that no worker waits for the driver.
_AHEAD = 1
_LOOK = 2.0  # seconds between two looks at how large the cluster is


def named(remote: Any, *arguments: Any) -> Callable[[ShardTask], Any]:
    """Returns a function that hands a task to Ray under the name of its shard, which Ray's tools and ``ps`` show.

    Args:
        remote: Ray's remote function.
        arguments: its first arguments; the task is the last one.
    """
    return lambda task: remote.options(name=f"shard {task.shard.name}").remote(*arguments, task)


class RayWorkers:
    """The workers of a Ray.

    Args:
        ray: the module, connected.
        submit: hands a task to Ray and returns the reference of its result.
        size: returns how many shards are built at once, which may change during a build.
        heartbeats: those of the workers.
        computes_on: the hardware that computes the SVDs, in words.
    """

    sequential = False

    def __init__(
        self,
        ray: Any,
        submit: Callable[[ShardTask], Any],
        size: Callable[[], int],
        heartbeats: RayHeartbeats,
        computes_on: str,
    ) -> None:
        self.computes_on, self.heartbeats = computes_on, heartbeats
        self._ray, self._submit, self._size = ray, submit, size
        self._running: dict[Any, ShardTask] = {}

    def capacity(self) -> int:
        return max(self._size() * (1 + _AHEAD), 1)

    def submit(self, task: ShardTask) -> None:
        self._running[self._submit(task)] = task

    def wait(self) -> list[tuple[ShardTask, Progress | Failure]]:
        finished, _ = self._ray.wait(list(self._running), timeout=_LOOK)
        ended = []
        for reference in finished:
            task = self._running.pop(reference)
            result = self._result(reference, task)
            if isinstance(result, Failure):
                heartbeat = self.heartbeats.read([task.shard.name]).get(task.shard.name)
                result = replace(result, node=heartbeat.node if heartbeat else None)
            ended.append((task, result))
            self.heartbeats.forget(task.shard.name)
        return ended

    def _result(self, reference: Any, task: ShardTask) -> Progress | Failure:
        errors, shard = self._ray.exceptions, f"shard {task.shard.name}"
        try:
            result: Progress | Failure = self._ray.get(reference)
            return result
        except errors.OutOfMemoryError:
            return WorkerDied(
                f"{shard}: Ray stopped its worker for lack of memory; try fewer --workers", retryable=True
            )
        except errors.NodeDiedError:
            return NodeLost(f"{shard}: its node went down", retryable=True)
        except errors.LocalRayletDiedError:  # not the shard's fault, and every other shard would fail in the same way
            return Failure(
                "Ray has stopped on this machine (its raylet died); the same command continues from what is committed"
            )
        except errors.WorkerCrashedError as error:
            return WorkerDied(f"{shard}: its worker died ({type(error).__name__})", retryable=True)
        except errors.RayError as error:
            return Failure(f"{shard}: its worker died ({type(error).__name__})", retryable=True)
