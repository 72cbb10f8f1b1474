"""Computes all arrays of a batch of images, on a CPU core or on a GPU."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.numerics import eigen, svd
from pipeline.numerics.cut import Cut, cut
from pipeline.numerics.variants import Variant

T = TypeVar("T")
Array = Any  # numpy.ndarray or cupy.ndarray


@dataclass(frozen=True)
class Recipe:
    """Which arrays to compute of every image of a shard.

    Attributes:
        variants: the cuts.
        side: singular values in a row of spectra.
        factors: rank up to which U, S and V are computed; 0 for none.
    """

    variants: tuple[Variant, ...]
    side: int
    factors: int = 0


class Computed(NamedTuple):
    """The results for (n, c, h, w) pixels.

    Attributes:
        cuts: the stored pixels and statistics of each variant.
        rows: arrays (n, c, ...) by name: ``spectra`` and, where the recipe has factors, ``u``, ``s`` and ``v``. Spectra are
            NaN beyond an image's own singular values.
        repaired: planes that a GPU solved wrongly and LAPACK solved again.
    """

    cuts: dict[Variant, Cut]
    rows: dict[str, Array]
    repaired: int = 0


class Compute(Protocol):
    """Begins to compute uint8 (n, c, h, w) pixels. The returned function waits for the result, in NumPy arrays."""

    def __call__(self, pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]: ...


class Overlap(Protocol):
    """Wraps the iterator of each stage of a shard, to let it run ahead of the next stage."""

    def __call__(self, stage: Iterable[T], /) -> Iterable[T]: ...


def compute(pixels: Array, recipe: Recipe, xp: ModuleType = np, solver: eigen.Eigensolver = eigen.leading) -> Computed:
    """Computes the cuts and rows of images.

    Args:
        pixels: uint8 (n, c, h, w), all channels of the images or one of them.
        recipe: what to compute.
        xp: the array namespace of ``pixels``.
        solver: computes the eigenpairs of Gram matrices, in ``xp``.
    """
    count, channels, height, width = pixels.shape
    most = max([*(variant.rank for variant in recipe.variants), recipe.factors])
    decomposed = svd.decompose(pixels.reshape(-1, height, width), most, xp, solver)
    spectra = xp.full((count, channels, recipe.side), xp.nan, xp.float32)
    spectra[:, :, : min(height, width)] = (decomposed.values / 255).reshape(count, channels, -1)
    rows = {"spectra": spectra}
    if recipe.factors:
        triplets = svd.factors(decomposed, recipe.factors, xp)
        rows |= {
            name: part.reshape(count, channels, *part.shape[1:]) for name, part in zip("usv", triplets, strict=True)
        }
    return Computed(cut(pixels, decomposed, recipe.variants, xp), rows, decomposed.repaired)


def deferred(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
    """Begins nothing: the returned function computes in this process, when it is called."""
    return partial(compute, pixels, recipe)


def in_turn(stage: Iterable[T], /) -> Iterable[T]:
    """Lets no stage run ahead: for a process with one core."""
    return stage


class Place(NamedTuple):
    """The processor (CPU core or GPU) that computes the images of a shard, and the size of its batches.

    Attributes:
        compute: begins the computation of a batch.
        overlap: wraps the iterator of each stage.
        batch_pixels: pixels of a plane times images of a batch. With the default the arrays fit a core's cache.
    """

    compute: Compute = deferred
    overlap: Overlap = in_turn
    batch_pixels: int = 1 << 16


HERE = Place()  # a core of the CPU, in this process
