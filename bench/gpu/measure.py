"""Measures eigensolvers, and the whole decomposition with each of them, at one image size."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import inputs
from bench.gpu import candidates
from pipeline.execution.gpus import client, server
from pipeline.execution.gpus.slots import Slot, bytes_of, views
from pipeline.numerics import eigen, svd
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.solved import TIE
from pipeline.numerics.variants import Variant, variants

_SLOW = 48  # planes for functions that process them one by one
_CHECKED = 1 << 22  # pixels that are compared with LAPACK
_ORDERS, _SHARD = 4, 1000  # orders for each thread of a server, and images of the shards that they come from
_PEAK = 67e12  # float64 operations per second of an H100 or H200 (data sheet)
_MOST_RUNS = 20

Result = dict[str, Any]


@dataclass(frozen=True)
class Clock:
    """Measures matrices per second at one size.

    Attributes:
        side: rows of the matrices.
        xp: the array namespace.
        seconds: time for each measurement.
    """

    side: int
    xp: ModuleType
    seconds: float

    def rate(self, name: str, count: int, run: Callable[[], Any], check: Callable[[], Result] = dict) -> Result:
        """Measures a function.

        Args:
            name: of the function.
            count: matrices that it solves.
            run: the function.
            check: called first; its result describes how accurate the function is.

        Returns:
            Matrices and images per second, and the share of the GPU's peak; or why it failed.
        """
        peak = _PEAK / (9 * self.side**3)  # an eigendecomposition with all vectors takes about 9 n^3 operations
        try:
            accuracy = check()
            rate = count / self._median(run)
            rates = {"matrices_per_s": round(rate, 1), "images_per_s": round(rate / 3, 1)}
            return {"solver": name, "planes": count, **rates, "of_peak": round(rate / peak, 5), **accuracy}
        except Exception as error:
            return {"solver": name, "failed": f"{type(error).__name__}: {error}"[:300]}
        finally:
            self.xp.get_default_memory_pool().free_all_blocks()

    def _median(self, run: Callable[[], Any]) -> float:
        """Returns the median time of a call, in seconds."""
        wait = self.xp.cuda.runtime.deviceSynchronize
        run()
        wait()
        times: list[float] = []
        while sum(times) < self.seconds and len(times) < _MOST_RUNS:
            start = time.perf_counter()
            run()
            wait()
            times.append(time.perf_counter() - start)
        return float(np.median(times))


def measure(clock: Clock, count: int, ranks: tuple[int, ...]) -> Iterator[Result]:
    """Measures every solver on ``count`` planes: alone, with the guards, and in the whole stage."""
    side, xp = clock.side, clock.xp
    host = photographs(side, count)
    planes = xp.asarray(host)
    images = planes.reshape(-1, 3, side, side)
    gram = svd.gram(planes, planes.astype(xp.float64), xp)
    recipe, columns = Recipe(variants(ranks, ("low", "high")), side), min(side, eigen.BLOCK)
    for name, solver in candidates.able(side, xp).items():
        guarded = partial(eigh.leading, solver=solver)
        stage = partial(compute, images, recipe, xp, guarded)
        yield clock.rate(
            name, count, partial(solver, gram, columns, xp), partial(_residuals, gram, solver, columns, xp)
        )
        yield clock.rate(f"guarded {name}", count, partial(guarded, gram, max(ranks), xp))
        yield clock.rate(f"stage with {name}, ranks {ranks}", count, stage, partial(wrong_bytes, host, recipe, stage))
    with _orders(host.reshape(-1, 3, side, side), recipe, xp) as (send_orders, ordered):
        yield clock.rate(f"server, ranks {ranks}", ordered, send_orders)
    few = planes if side <= 32 else planes[:_SLOW]
    exact = few.astype(xp.float64)
    yield clock.rate("xp.linalg.svd", len(few), lambda: xp.linalg.svd(exact, full_matrices=False))
    yield clock.rate("torch.linalg.svd", len(few), partial(_torch, "svd", exact))
    yield clock.rate("torch.linalg.eigh", count, partial(_torch, "eigh", gram))


@contextlib.contextmanager
def _orders(images: np.ndarray, recipe: Recipe, xp: ModuleType) -> Iterator[tuple[Callable[[], None], int]]:
    """Starts a server in this process.

    Yields:
        A function that sends orders of a build's size to all threads of the server; and how many planes they hold.
    """
    count = server.THREADS * _ORDERS
    _, channels, height, width = images.shape
    size = min(len(images), client.order_of((height, width), _SHARD, recipe))
    shape = (size, channels, height, width)
    slots = [Slot(bytes_of(shape, recipe)) for _ in range(count)]
    for i, slot in enumerate(slots):
        views(slot.memory, shape, recipe)[0][...] = np.roll(images, -i * size, axis=0)[:size]
    gpu_server = server.Server(xp.__name__)

    def run() -> None:
        with patch.object(threading, "Timer"):  # with which a server ends its process when its GPU fails
            for answer in pool.map(gpu_server.compute, [slot.order(shape, recipe) for slot in slots]):
                if answer.lost or not answer.fits:
                    raise RuntimeError(answer.lost or "out of memory")

    with ThreadPoolExecutor(server.THREADS) as pool:
        yield run, count * size * channels
    gpu_server.close()


def _residuals(gram: Any, solver: eigh.Solver, columns: int, xp: ModuleType) -> Result:
    """Returns the largest residual, in roundings of the largest eigenvalue, and how many matrices the guards refuse."""
    values, vectors = solver(gram, columns, xp)
    rounding = guards.EPS * xp.maximum(values[:, 0], 1.0)  # black planes have no eigenvalue above zero
    residual = xp.abs(gram @ vectors - vectors * values[:, None, :columns]).max(axis=(1, 2)) / rounding
    refused = len(gram) - int(guards.sound(gram, values, vectors, xp).sum())
    return {"residual_roundings": round(float(residual.max()), 2), "refused": refused}


def wrong_bytes(host: np.ndarray, recipe: Recipe, stage: Callable[[], Computed]) -> Result:
    """Counts bytes of low-rank images that differ from LAPACK's, at a rounding tie and elsewhere, where A_k is unique."""
    planes, computed = host[: max(1, _CHECKED // host[0].size)], stage()
    left, values, right = np.linalg.svd(planes.astype(np.float64), full_matrices=False)
    wrong = ties = 0
    for rank in sorted({variant.rank for variant in recipe.variants}):
        cut = (left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank]
        near = 0.5 - np.abs(cut - np.rint(cut)) < TIE
        unique = (values[:, rank - 1] - values[:, rank] > svd.GAP * values[:, 0])[:, None, None]
        stored = computed.cuts[Variant("low", rank)].pixels.get().reshape(-1, *planes.shape[1:])[: len(planes)]
        differ = (stored != np.clip(np.rint(cut), 0, 255)) & unique
        wrong, ties = wrong + int((differ & ~near).sum()), ties + int((differ & near).sum())
    recomputed = sum(cut.statistics.recomputed for variant, cut in computed.cuts.items() if variant.component == "low")
    return {"wrong": wrong, "wrong_at_ties": ties, "repaired": computed.repaired, "recomputed": recomputed}


def _torch(name: str, matrices: Any) -> Any:
    import torch

    return getattr(torch.linalg, name)(torch.utils.dlpack.from_dlpack(matrices))


def photographs(side: int, count: int) -> np.ndarray:
    """Returns uint8 (count, side, side): planes of random crops of photographs, three in a row for each image."""
    generator = np.random.default_rng(side)
    photos = [np.asarray(photo) for photo in inputs.photographs()]
    distinct = min(count, 384)
    crops = [inputs.random_crop(photos[i % len(photos)], (side, side), generator) for i in range(distinct // 3)]
    planes = np.concatenate([crop.transpose(2, 0, 1) for crop in crops])
    shifted = [np.roll(planes, 1 + turn, axis=1) for turn in range(-(-count // len(planes)))]
    return np.ascontiguousarray(np.concatenate(shifted)[:count])
