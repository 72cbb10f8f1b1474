"""Memory that a process which reads and encodes shares with the one that has the card: pixels in, cuts and rows out.

A slot has no name in the file system and goes with the process that made it, whatever it dies of.
"""

import mmap
import os
import secrets
from math import prod
from typing import Any, NamedTuple

import numpy as np

from pipeline.execution.gpus.card import Outputs
from pipeline.numerics.batch import Recipe
from pipeline.numerics.variants import Variant

_ALIGN = 256  # bytes; what copies to and from a card like
_GRAIN = 1 << 20  # bytes; slots grow in these


class Order(NamedTuple):
    """What a slot holds: its owner, where the owner has it and its number there, how large it is, and the shape of the
    uint8 (n, c, h, w) pixels that it begins with."""

    pid: int
    descriptor: int
    number: int
    size: int
    shape: tuple[int, ...]
    recipe: Recipe


def bytes_of(shape: tuple[int, ...], recipe: Recipe) -> int:
    """What pixels of a shape take with all that comes of them."""
    return sum(_padded(prod(sides) * np.dtype(kind).itemsize) for _, sides, kind in _layout(shape, recipe))


def views(memory: Any, shape: tuple[int, ...], recipe: Recipe) -> tuple[np.ndarray, Outputs]:
    """The arrays of a slot: its pixels, and what comes of them by variant or name."""
    arrays: dict[Variant | str, np.ndarray] = {}
    offset = 0
    for key, sides, kind in _layout(shape, recipe):
        count = prod(sides)
        arrays[key] = np.frombuffer(memory, kind, count, offset).reshape(sides)
        offset += _padded(count * np.dtype(kind).itemsize)
    return arrays.pop("pixels"), arrays


def _layout(shape: tuple[int, ...], recipe: Recipe) -> list[tuple[Variant | str, tuple[int, ...], type]]:
    count, channels, height, width = shape
    parts: list[tuple[Variant | str, tuple[int, ...], type]] = [("pixels", shape, np.uint8)]
    cuts = [variant for variant in recipe.wanted if variant.component != "full"]  # full is the pixels themselves
    parts += [(variant, shape, np.float32 if variant.exact else np.uint8) for variant in cuts]
    parts.append(("spectra", (count, channels, recipe.side), np.float32))
    if recipe.factors:
        sides = {"u": (height, recipe.factors), "s": (recipe.factors,), "v": (width, recipe.factors)}
        parts += [(name, (count, channels, *side), np.float64) for name, side in sides.items()]
    return parts


def _padded(size: int) -> int:
    return size + -size % _ALIGN


class Slot:
    """Memory of this process. ``number`` tells it from others that had the same descriptor, or process number, before."""

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
        return Order(os.getpid(), self._descriptor, self.number, self.size, shape, recipe)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self._descriptor)


def attach(order: Order) -> mmap.mmap:
    """Another process's slot. Raises OSError when the process or its slot is gone."""
    descriptor = os.open(f"/proc/{order.pid}/fd/{order.descriptor}", os.O_RDWR)
    try:
        return mmap.mmap(descriptor, order.size)
    finally:
        os.close(descriptor)
