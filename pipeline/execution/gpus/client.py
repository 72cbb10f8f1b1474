"""How a process that reads and encodes has its planes computed by the one that has a card, or by a card of its own."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from pipeline.errors import PipelineError
from pipeline.execution.gpus.card import Card, Outputs
from pipeline.execution.gpus.server import Answer
from pipeline.execution.gpus.slots import Order, Slot, bytes_of, views
from pipeline.numerics.batch import Computed, Place, Recipe, compute
from pipeline.numerics.cut import Cut, Statistics
from pipeline.numerics.variants import Variant
from pipeline.planning.shard_task import ShardTask

T = TypeVar("T")

_MOST_PIXELS = 1 << 22  # of a plane, times images of an order: 4,096 of 32 x 32, 83 of 224 x 224
_MOST_BYTES = 1 << 26  # of an order with all that comes of it; a worker has two or three
_PARTS = 4  # orders of a shard at least, so that its decoding and encoding run beside the card's work
_AHEAD = 1  # orders that wait with the card while an earlier one is encoded


class CardLost(OSError):
    """The card computes no more; its process is being replaced, and another try at the shard will do."""


class Client:
    """Orders planes, in slots of its own.

    Args:
        send: hands an order to a server; what it returns waits for the answer, and raises CardLost where none comes.
    """

    def __init__(self, send: Callable[[Order], Callable[[], Answer]]) -> None:
        self._send = send
        self._free: list[Slot] = []

    def begin(self, pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        """Order the computation of uint8 (n, c, h, w) pixels. Once waited for, it may raise CardLost."""
        slot = self._take(bytes_of(pixels.shape, recipe))
        inside, out = views(slot.memory, pixels.shape, recipe)
        inside[...] = pixels
        answer = self._send(slot.order(pixels.shape, recipe))

        def wait() -> Computed:
            found = answer()
            if found.lost:
                raise CardLost(found.lost)
            if not found.fits:
                return compute(pixels, recipe)
            result = _computed(pixels, {key: array.copy() for key, array in out.items()}, found.statistics, recipe)
            self._free.append(slot)  # only now: a slot whose order is still under way is never used again
            return result._replace(repaired=found.repaired)

        return wait

    def _take(self, size: int) -> Slot:
        """The smallest that will do; else a new one, in place of one that is too small."""
        self._free.sort(key=lambda slot: slot.size)
        fitting = next((i for i, slot in enumerate(self._free) if slot.size >= size), None)
        if fitting is None:
            del self._free[:1]
            return Slot(size)
        return self._free.pop(fitting)


def _computed(pixels: np.ndarray, out: Outputs, statistics: dict[Variant, Statistics], recipe: Recipe) -> Computed:
    cuts = {variant: Cut(out.get(variant, pixels), statistics[variant]) for variant in recipe.wanted}
    return Computed(cuts, {key: array for key, array in out.items() if isinstance(key, str)})


def place(begin: Callable[[np.ndarray, Recipe], Callable[[], Computed]], task: ShardTask) -> Place:
    """Where a shard is worked on whose planes are computed by ``begin``."""
    if not task.shape:
        return Place(begin, ahead, _MOST_PIXELS // _PARTS)
    images = order_of(task.shape, len(task.entries), task.recipe(tuple(task.tars)))
    return Place(begin, ahead, task.shape[0] * task.shape[1] * images)


def order_of(shape: tuple[int, int], images: int, recipe: Recipe) -> int:
    """How many images an order of a shard of ``images`` has."""
    fitting = _MOST_BYTES // bytes_of((1, 3, *shape), recipe)
    return max(1, min(fitting, images // _PARTS, _MOST_PIXELS // (shape[0] * shape[1])))


def ahead(stage: Iterable[T], /) -> Iterable[T]:
    """Executor: a stage has begun with its next item by the time that one is asked for."""
    items: deque[T] = deque()
    for item in stage:
        items.append(item)
        if len(items) > _AHEAD:
            yield items.popleft()
    yield from items


def in_process(card: Card) -> Callable[[np.ndarray, Recipe], Callable[[], Computed]]:
    """Computes on this process's own card, when the result is asked for."""

    def begin(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        def wait() -> Computed:
            _, out = views(np.empty(bytes_of(pixels.shape, recipe), np.uint8), pixels.shape, recipe)
            try:
                statistics, repaired = card.compute(pixels, recipe, out)
            except MemoryError:
                return compute(pixels, recipe)
            except RuntimeError as error:
                raise PipelineError(
                    f"the card failed ({' '.join(str(error).split())[:300]}); type the same again"
                ) from None
            return _computed(pixels, out, statistics, recipe)._replace(repaired=repaired)

        return wait

    return begin
