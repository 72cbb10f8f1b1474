"""Slots: memory that a worker process shares with the process of a GPU. It holds pixels, and their cuts and rows.

A slot has no name in the file system. It ends with the process that made it, however that process ends.
"""

import mmap
import os
import secrets
from math import prod
from typing import Any, NamedTuple

import numpy as np

from pipeline.execution.gpus.gpu import Outputs
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant

_ALIGN = 256  # bytes; the alignment of CUDA's own allocations
_GRAIN = 1 << 20  # bytes; sizes of slots are multiples of it


class Order(NamedTuple):
    """A request to compute the contents of a slot.

    Attributes:
        pid: the process that owns the slot.
        descriptor: the slot's file descriptor in that process.
        number: random number of the slot.
        size: bytes.
        shape: of the uint8 (n, c, h, w) pixels at the slot's beginning.
        recipe: what to compute.
    """

    pid: int
    descriptor: int
    number: int
    size: int
    shape: tuple[int, ...]
    recipe: Recipe


def bytes_of(shape: tuple[int, ...], recipe: Recipe) -> int:
    """Returns the size of pixels together with all their results."""
    return sum(_padded(prod(sides) * np.dtype(kind).itemsize) for _, sides, kind in _layout(shape, recipe))


def views(memory: Any, shape: tuple[int, ...], recipe: Recipe) -> tuple[np.ndarray, Outputs]:
    """Returns the arrays in a slot: its pixels, and the results by variant or name."""
    arrays: dict[Variant | str, np.ndarray] = {}
    offset = 0
    for key, sides, kind in _layout(shape, recipe):
        count = prod(sides)
        arrays[key] = np.frombuffer(memory, kind, count, offset).reshape(sides)
        offset += _padded(count * np.dtype(kind).itemsize)
    return arrays.pop("pixels"), arrays


def _layout(shape: tuple[int, ...], recipe: Recipe) -> list[tuple[Variant | str, tuple[int, ...], type]]:
    """Returns key, shape and type of each array in a slot."""
    count, channels, height, width = shape
    parts: list[tuple[Variant | str, tuple[int, ...], type]] = [("pixels", shape, np.uint8)]
    cuts = [variant for variant in recipe.variants if variant.component != "full"]  # full is the pixels themselves
    parts += [(variant, shape, np.float32 if variant.exact else np.uint8) for variant in cuts]
    parts.append(("spectra", (count, channels, recipe.side), np.float32))
    if recipe.factors:
        sides = {"u": (height, recipe.factors), "s": (recipe.factors,), "v": (width, recipe.factors)}
        parts += [(name, (count, channels, *side), np.float64) for name, side in sides.items()]
    return parts


def _padded(size: int) -> int:
    return size + -size % _ALIGN


class Slot:
    """Shared memory of this process.

    Args:
        size: bytes that it must hold.

    Attributes:
        size: bytes.
        memory: the mapped memory.
        number: distinguishes it from earlier slots with the same descriptor or process number.
    """

    def __init__(self, size: int) -> None:
        self.size = size + -size % _GRAIN
        self._descriptor = os.memfd_create("rank-shards")
        try:
            os.ftruncate(self._descriptor, self.size)
            self.memory = mmap.mmap(self._descriptor, self.size)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.number = secrets.randbits(62)

    def order(self, shape: tuple[int, ...], recipe: Recipe) -> Order:
        """Returns the order to compute pixels of a shape."""
        return Order(os.getpid(), self._descriptor, self.number, self.size, shape, recipe)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self._descriptor)


def attach(order: Order) -> mmap.mmap:
    """Maps another process's slot. Raises OSError where the process has ended or has closed the slot."""
    descriptor = os.open(f"/proc/{order.pid}/fd/{order.descriptor}", os.O_RDWR)
    try:
        return mmap.mmap(descriptor, order.size)
    finally:
        os.close(descriptor)
