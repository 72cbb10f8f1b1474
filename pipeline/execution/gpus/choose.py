"""What a build computes on: cards where they are asked for and work, else the cores of its workers."""

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
    """Where a build without Ray works on a shard, and that in words: on the first card, or on this core.

    Raises:
        PipelineError: there has to be a card, and there is none that works.
    """
    if not device.cards_here():
        return lambda _: HERE, _cores(device)
    import importlib

    from pipeline.execution.gpus import card, client

    try:
        xp = importlib.import_module(device.namespace)
        begin, told = client.in_process(card.Card(xp)), _words([card.describe(xp)])
    except (ImportError, PipelineError) as error:
        _check(device, 0, [str(error)])
        return lambda _: HERE, CORES
    return lambda task: client.place(begin, task), told


def on_ray(ray: Any, device: Device, there: Mapping[str, int]) -> tuple[dict[str, list[Any]], str]:
    """Servers on the cards of a build, by the id of their node, and what it computes on, in words.

    Args:
        there: cards by the id of their node.

    Raises:
        PipelineError: there have to be cards, and there are none that work, or too few.
    """
    from pipeline.execution.gpus import pool

    wanted = _first(there, device.gpus)
    if device.kind == "cpu" or not wanted:
        if device.kind == "cuda":
            raise PipelineError("--device cuda: no node of the cluster has a card (ray status shows what each one has)")
        return {}, _cores(device)
    started = pool.start(ray, wanted, device.namespace)
    _check(device, len(started.cards), started.failures)
    return started.servers, _words(started.cards) if started.cards else CORES


def _check(device: Device, usable: int, failures: list[str]) -> None:
    """Tell of cards that cannot be used. Raises PipelineError where they have to be."""
    reason = f": {' '.join(failures[0].split())[:300]}" if failures else ""
    if device.kind == "cuda" and usable < (device.gpus or 1):
        raise PipelineError(f"--device cuda: {usable} of {device.gpus or 1} cards can be used{reason}")
    if failures:
        console.tell(f"{len(failures)} card{'s' * (len(failures) != 1)} cannot be used{reason}")


def _first(there: Mapping[str, int], most: int | None) -> dict[str, int]:
    """As many as are wanted of the cards that are there."""
    left, first = sum(there.values()) if most is None else most, {}
    for node, count in there.items():
        if min(count, left) > 0:
            first[node] = min(count, left)
            left -= first[node]
    return first


def _cores(device: Device) -> str:
    """With the reason, where a card was to be expected: there is a driver, or ``--gpus`` asks for some."""
    lacks = missing() if device.kind == "auto" else ""
    return f"{CORES} ({lacks})" if lacks and (device.gpus or "driver (lib" not in lacks) else CORES


def _words(cards: list[str]) -> str:
    return "; ".join(f"{count} GPU{'s' * (count != 1)}: {card}" for card, count in Counter(cards).items())
