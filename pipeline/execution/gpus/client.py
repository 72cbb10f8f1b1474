"""Lets a worker process compute its planes elsewhere: in the server process of a GPU, or on a GPU of its own."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from pipeline.errors import PipelineError
from pipeline.execution.gpus.gpu import Gpu, Outputs
from pipeline.execution.gpus.server import Answer
from pipeline.execution.gpus.slots import Order, Slot, bytes_of, views
from pipeline.numerics.batch import Compute, Computed, Place, compute
from pipeline.numerics.cut import Cut
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant
from pipeline.planning.shard_task import ShardTask

T = TypeVar("T")

_MOST_PIXELS = 1 << 22  # of a plane, times images of an order: 4,096 of 32 x 32, 83 of 224 x 224
_MOST_BYTES = 1 << 26  # of an order with all its results; a worker has two or three
_PARTS = 4  # orders per shard at least, so that decoding and encoding overlap with the GPU's work
_AHEAD = 1  # orders that are sent before the previous one is encoded


class GpuLost(OSError):
    """The GPU's process is being replaced. The shard can be tried again."""


class Client:
    """Sends planes to a server, in slots of shared memory that this process owns.

    Args:
        send: sends an order to a server. The returned function waits for the answer, and raises GpuLost where none comes.
    """

    def __init__(self, send: Callable[[Order], Callable[[], Answer]]) -> None:
        self._send = send
        self._free: list[Slot] = []

    def begin(self, pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        """Sends uint8 (n, c, h, w) pixels. The returned function waits for the result, and may raise GpuLost."""
        slot = self._take(bytes_of(pixels.shape, recipe))
        inside, out = views(slot.memory, pixels.shape, recipe)
        inside[...] = pixels
        wait_for_answer = self._send(slot.order(pixels.shape, recipe))

        def wait() -> Computed:
            answer = wait_for_answer()
            if answer.lost:
                raise GpuLost(answer.lost)
            if not answer.fits:
                return compute(pixels, recipe)
            result = _computed(pixels, {key: array.copy() for key, array in out.items()}, answer.statistics, recipe)
            self._free.append(slot)  # only here: a slot must not be reused while a server may still write to it
            return result._replace(repaired=answer.repaired)

        return wait

    def _take(self, size: int) -> Slot:
        """Returns the smallest free slot of at least ``size`` bytes, or a new one in place of a slot that is too small."""
        self._free.sort(key=lambda slot: slot.size)
        index = next((i for i, slot in enumerate(self._free) if slot.size >= size), None)
        if index is None:
            del self._free[:1]
            return Slot(size)
        return self._free.pop(index)


def _computed(pixels: np.ndarray, out: Outputs, statistics: dict[Variant, Statistics], recipe: Recipe) -> Computed:
    cuts = {variant: Cut(out.get(variant, pixels), statistics[variant]) for variant in recipe.variants}
    return Computed(cuts, {key: array for key, array in out.items() if isinstance(key, str)})


def place(begin: Compute, task: ShardTask) -> Place:
    """Returns a place where ``begin`` computes the planes of a shard, with batches of a good size for a GPU."""
    if not task.shape:
        return Place(begin, ahead, _MOST_PIXELS // _PARTS)
    images = order_of(task.shape, len(task.entries), task.recipe(tuple(task.tars)))
    return Place(begin, ahead, task.shape[0] * task.shape[1] * images)


def order_of(shape: tuple[int, int], images: int, recipe: Recipe) -> int:
    """Returns how many images an order has, in a shard of ``images`` of one (height, width)."""
    fitting = _MOST_BYTES // bytes_of((1, 3, *shape), recipe)
    return max(1, min(fitting, images // _PARTS, _MOST_PIXELS // (shape[0] * shape[1])))


def ahead(stage: Iterable[T], /) -> Iterable[T]:
    """Lets a stage begin its next item before the previous one is processed further (``batch.Overlap``)."""
    items: deque[T] = deque()
    for item in stage:
        items.append(item)
        if len(items) > _AHEAD:
            yield items.popleft()
    yield from items


def in_process(gpu: Gpu) -> Compute:
    """Returns a function that computes on this process's own GPU, when the result is waited for."""

    def begin(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        def wait() -> Computed:
            _, out = views(np.empty(bytes_of(pixels.shape, recipe), np.uint8), pixels.shape, recipe)
            try:
                statistics, repaired = gpu.compute(pixels, recipe, out)
            except MemoryError:
                return compute(pixels, recipe)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                raise PipelineError(f"the GPU failed ({reason}); run the same command again to continue") from None
            return _computed(pixels, out, statistics, recipe)._replace(repaired=repaired)

        return wait

    return begin
