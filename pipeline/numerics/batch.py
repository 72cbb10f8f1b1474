"""What is computed of the planes of a batch, and where: in this process when it is asked for, or begun early on a card."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.formats import factors
from pipeline.numerics import svd
from pipeline.numerics.cut import Cut, cut
from pipeline.numerics.variants import Variant

T = TypeVar("T")
Array = Any  # numpy.ndarray or cupy.ndarray


@dataclass(frozen=True)
class Recipe:
    """What is wanted of every image of a shard.

    Attributes:
        wanted: the variants.
        side: singular values in a row of spectra.
        factors: rank up to which U, S and V are wanted; 0 for none.
    """

    wanted: tuple[Variant, ...]
    side: int
    factors: int = 0


class Computed(NamedTuple):
    """Of (n, c, h, w) pixels: their cuts; rows (n, c, ...) by array, NaN beyond an image's own singular values; and planes
    whose eigenvectors a card gave wrongly, and LAPACK then rightly."""

    cuts: dict[Variant, Cut]
    rows: dict[str, Array]
    repaired: int = 0


class Compute(Protocol):
    """Begins to compute uint8 (n, c, h, w) pixels; what it returns waits for the result, which is in NumPy arrays."""

    def __call__(self, pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]: ...


class Executor(Protocol):
    """Wraps each stage of a shard."""

    def __call__(self, stage: Iterable[T], /) -> Iterable[T]: ...


def compute(pixels: Array, recipe: Recipe, xp: ModuleType = np) -> Computed:
    """The cuts and rows of uint8 (n, c, h, w) pixels of ``xp``: some channels of some images."""
    count, channels, height, width = pixels.shape
    ranks = [variant.rank for variant in recipe.wanted]
    decomposed = svd.decompose(pixels.reshape(-1, height, width), max([*ranks, recipe.factors]), xp)
    values = xp.full((count, channels, recipe.side), xp.nan, xp.float32)
    values[:, :, : min(height, width)] = (decomposed.values / 255).reshape(count, channels, -1)
    rows = {"spectra": values}
    if recipe.factors:
        rows |= factors.reshaped(svd.factors(decomposed, recipe.factors, xp), count)
    return Computed(cut(pixels, decomposed, recipe.wanted, xp), rows, decomposed.repaired)


def at_once(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
    """In this process, when the result is asked for."""
    return partial(compute, pixels, recipe)


def in_turn(stage: Iterable[T], /) -> Iterable[T]:
    """The executor of a single core: each stage runs when the next one asks."""
    return stage


class Place(NamedTuple):
    """Where a shard is worked on.

    Attributes:
        compute: what computes its planes.
        overlap: wraps each stage's iterator.
        batch_pixels: pixels of a plane times images of a batch; by default what keeps its arrays in a processor's cache.
    """

    compute: Compute = at_once
    overlap: Executor = in_turn
    batch_pixels: int = 1 << 16


HERE = Place()
