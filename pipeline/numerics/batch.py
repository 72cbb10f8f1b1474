"""Computes all arrays of a batch of images, on a CPU core or on a GPU."""

from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.numerics import cpu, eigen, svd
from pipeline.numerics.cut import Cut, cut
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant, variants

T = TypeVar("T")
Array = Any  # numpy.ndarray or cupy.ndarray


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


def compute(pixels: Array, recipe: Recipe, xp: ModuleType = np, solver: eigen.Eigensolver | None = None) -> Computed:
    """Computes the cuts and rows of images.

    Args:
        pixels: uint8 (n, c, h, w), all channels of the images or one of them.
        recipe: what to compute.
        xp: the array namespace of ``pixels``.
        solver: computes the eigenpairs of Gram matrices, in ``xp``; None for the kernels of a CPU core.
    """
    count, channels, height, width = pixels.shape
    planes = pixels.reshape(-1, height, width)
    requested = {rank for variant in recipe.variants for rank in (variant.rank, variant.above)}
    ranks = tuple(sorted(rank for rank in requested if 0 < rank < min(height, width)))
    most = min(recipe.factors, height, width)
    if solver:
        solution = svd.solve(planes, ranks, most, xp, solver)
    else:
        solution = cpu.solve(planes, ranks, most, any(variant.exact for variant in recipe.variants))
    spectra = xp.full((count, channels, recipe.side), xp.nan, xp.float32)
    spectra[:, :, : min(height, width)] = (solution.values / 255).reshape(count, channels, -1)
    rows = {"spectra": spectra}
    if solution.factors:
        rows |= {
            name: part.reshape(count, channels, *part.shape[1:])
            for name, part in zip("usv", solution.factors, strict=True)
        }
    return Computed(cut(pixels, solution.truncated, recipe.variants, xp), rows, solution.repaired)


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


def load_compiled_loops(sides: Iterable[int]) -> None:
    """Loads the compiled loops before any work is timed, by cutting a square image of each side, in pixels."""
    requested = variants((1,), ("low", "high"), bands=((1, 2),))
    for side in sides:
        compute(np.zeros((1, 1, side, side), np.uint8), Recipe(requested, side))
