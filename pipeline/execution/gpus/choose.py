"""Chooses what a build computes on: GPUs where they are requested and work, otherwise the cores of its workers."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError
from pipeline.execution.device import Device, missing
from pipeline.numerics.batch import HERE, Place
from pipeline.planning.shard_task import ShardTask

CORES = "CPU cores"


def in_this_process(device: Device) -> tuple[Callable[[ShardTask], Place], str]:
    """Chooses for a build without Ray: the first GPU, or this core.

    Returns:
        A function from a shard to the place where it is computed; and that place in words.

    Raises:
        PipelineError: a GPU is required, and none works.
    """
    if not device.gpus_here():
        return lambda _: HERE, _cores(device)
    import importlib

    from pipeline.execution.gpus import client, gpu

    try:
        xp = importlib.import_module(device.namespace)
        begin, words = client.in_process(gpu.Gpu(xp)), _words([gpu.describe(xp)])
    except (ImportError, PipelineError) as error:
        _check(device, 0, [str(error)])
        return lambda _: HERE, CORES
    return lambda task: client.place(begin, task), words


def on_ray(ray: Any, device: Device, available: Mapping[str, int]) -> tuple[dict[str, list[Any]], str]:
    """Chooses for a build on Ray, and starts a server for each GPU.

    Args:
        ray: the module.
        device: what the user requests.
        available: number of GPUs by node id.

    Returns:
        The servers by node id; and what the build computes on, in words.

    Raises:
        PipelineError: GPUs are required, and none work, or too few.
    """
    from pipeline.execution.gpus import pool

    selected = _first(available, device.gpus)
    if device.kind == "cpu" or not selected:
        if device.kind == "cuda":
            raise PipelineError("--device cuda: no node of the cluster has a GPU (ray status shows what each one has)")
        return {}, _cores(device)
    started = pool.start(ray, selected, device.namespace)
    _check(device, len(started.gpus), started.failures)
    return started.servers, _words(started.gpus) if started.gpus else CORES


def _check(device: Device, usable: int, failures: list[str]) -> None:
    """Reports GPUs that cannot be used. Raises PipelineError where too few are left of those that are required."""
    reason = f": {' '.join(failures[0].split())[:300]}" if failures else ""
    if device.kind == "cuda" and usable < (device.gpus or 1):
        raise PipelineError(f"--device cuda: {usable} of {device.gpus or 1} GPUs can be used{reason}")
    if failures:
        console.tell(f"{len(failures)} GPU{'s' * (len(failures) != 1)} cannot be used{reason}")


def _first(available: Mapping[str, int], most: int | None) -> dict[str, int]:
    """Returns at most ``most`` of the available GPUs: their number by node id."""
    left, first = sum(available.values()) if most is None else most, {}
    for node, count in available.items():
        if min(count, left) > 0:
            first[node] = min(count, left)
            left -= first[node]
    return first


def _cores(device: Device) -> str:
    """Returns "CPU cores", with the reason where the user may expect a GPU: a driver is installed, or ``--gpus`` is set."""
    lacks = missing() if device.kind == "auto" else ""
    return f"{CORES} ({lacks})" if lacks and (device.gpus or "driver (lib" not in lacks) else CORES


def _words(gpus: list[str]) -> str:
    return "; ".join(f"{count} GPU{'s' * (count != 1)}: {gpu}" for gpu, count in Counter(gpus).items())
