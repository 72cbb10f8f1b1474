"""``python -m bench.gpu``: the decomposition on a card, and whole builds with it. JSON lines, as they are measured.

Per size: each eigensolver, the whole stage from pixels to bytes with it, orders through a server, from shared memory and
back, and beside them CuPy's and torch's own SVD; every one on photographs, the stages held against float64 LAPACK. Then a
build of 224-pixel images on the card, the same with nothing computed between decoding and encoding, and what the card and
the cores did meanwhile.
"""

import argparse
import contextlib
import importlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import gpu_build, inputs
from pipeline.errors import PipelineError
from pipeline.execution import device
from pipeline.execution.gpus import client, server
from pipeline.execution.gpus.slots import Slot, bytes_of, views
from pipeline.numerics import eigen, svd
from pipeline.numerics.batch import Computed, Recipe, compute
from pipeline.numerics.cuda import eigh, guards, xsyev
from pipeline.numerics.variants import Variant, variants

# Planes at once, and ranks, at each side.
SIZES = {
    32: (24_576, (3, 5, 10, 20)),
    64: (6_144, (5, 20)),
    128: (1_536, (30,)),
    224: (768, (50,)),
    256: (384, (50,)),
}
_SLOW = 48  # planes for solvers that take them one by one
_CHECKED = 1 << 22  # pixels that are held against LAPACK
_ORDERS, _SHARD = 4, 1000  # that each thread of a server takes, and images of the shards that they are of
_FLOOR = (
    67e12  # double-precision operations a second of an H100 or H200 (its data sheet), and 9 n^3 of them for a matrix
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--fake", action="store_true", help="NumPy for the card, a few planes and images: does it run")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="sides, as in 32,224; none for builds alone")
    parser.add_argument("--images", type=int, default=12_000, help="of a build; 0 for none")
    parser.add_argument("--workers", type=int, help="of a build; default: all cores")
    parser.add_argument(
        "--keep", action="store_true", help="have the solvers chosen by these rates from now on, builds included"
    )
    options = parser.parse_args()
    if options.keep and options.fake:
        parser.error("--keep is for the rates of a card, and --fake has none")
    lacks = "" if options.fake else device.missing()
    if lacks:
        parser.error(f"it measures a card: {lacks}")
    sides = list(filter(None, options.sizes.split(",")))
    for side in sides:
        if side not in map(str, SIZES):
            parser.error(f"--sizes: {side!r} is not one of {', '.join(map(str, SIZES))}")
    xp = importlib.import_module("tests.unit.execution.gpus.fake" if options.fake else "cupy")
    tell(what="card", name=xp.cuda.runtime.getDeviceProperties(0)["name"].decode(), **_versions(xp))
    kept: list[dict[str, Any]] = []
    for side in map(int, sides):
        count, ranks = SIZES[side]
        rates = measure(side, 12 if options.fake else count, ranks, xp, 0.1 if options.fake else 2.0)
        kept += [{"n": side, "solver": name, "matrices_per_s": rate} for name, rate in rates.items()]
    if options.keep and kept:
        eigh.keep(kept)
    if options.images:
        with tempfile.TemporaryDirectory(prefix="rank-shards-bench-") as folder:
            namespace = xp.__name__
            for result in gpu_build.measure(Path(folder), options.images, options.workers, namespace):
                tell(**result)


def tell(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def _versions(xp: ModuleType) -> dict[str, Any]:
    """Of what the figures come from."""
    found = {xp.__name__: xp.__version__, "numpy": np.__version__, "cores": os.cpu_count()}
    if xp.__name__ == "cupy":
        found["driver"] = xp.cuda.runtime.driverGetVersion()
        with contextlib.suppress(PipelineError):  # its candidate says so
            found["cusolver"] = xsyev.version(xsyev.XsyevBatched(xp).library)
    with contextlib.suppress(ImportError):
        found["torch"] = importlib.import_module("torch").__version__
    return found


def measure(side: int, count: int, ranks: tuple[int, ...], xp: ModuleType, seconds: float) -> dict[str, float]:
    """Tell every candidate's rate, error and distance to the floor at one size, each timed for some seconds.

    Returns:
        Matrices/s of each solver, with what is done about its failures.
    """
    host = photographs(side, count)
    planes = xp.asarray(host)
    gram = svd._gram(planes, planes.astype(xp.float64), xp)
    floor = _FLOOR / (9 * side**3)
    one = partial(_one, side, floor, xp, seconds)
    recipe, wanted = Recipe(variants(ranks, ("low", "high")), side), min(side, eigen.BLOCK)
    stage = partial(compute, planes.reshape(-1, 3, side, side), recipe, xp)
    rates = {}
    for name, solver in eigh.able(side, xp).items():
        one(name, count, partial(solver, gram, wanted, xp), partial(_proof, gram, solver, wanted, xp))
        rates[name] = one(f"guarded {name}", count, partial(eigh.leading, gram, max(ranks), xp, solver))
        with patch.object(eigh, "choose", lambda *_, chosen=solver: chosen):
            one(f"stage with {name}, ranks {ranks}", count, stage, partial(wrong_bytes, host, recipe, stage))
    with _orders(host.reshape(-1, 3, side, side), recipe, xp) as (orders, ordered):
        one(f"server, ranks {ranks}", ordered, orders)
    few = planes if side <= 32 else planes[:_SLOW]
    exact = few.astype(xp.float64)
    one("xp.linalg.svd", len(few), lambda: xp.linalg.svd(exact, full_matrices=False))
    one("torch.linalg.svd", len(few), partial(_torch, "svd", exact))
    one("torch.linalg.eigh", count, partial(_torch, "eigh", gram))
    return {name: rate for name, rate in rates.items() if rate}


@contextlib.contextmanager
def _orders(images: np.ndarray, recipe: Recipe, xp: ModuleType) -> Iterator[tuple[Callable[[], None], int]]:
    """What has a server compute orders of a build's size on all its threads, and how many planes these hold."""
    every = server.THREADS * _ORDERS
    _, channels, height, width = images.shape
    size = min(len(images), client.order_of((height, width), _SHARD, recipe))
    shape = (size, channels, height, width)
    slots = [Slot(bytes_of(shape, recipe)) for _ in range(every)]
    for i, slot in enumerate(slots):
        views(slot.memory, shape, recipe)[0][...] = np.roll(images, -i * size, axis=0)[:size]
    one = server.Server(xp.__name__)

    def run() -> None:
        with patch.object(threading, "Timer"):  # by which a server ends its process when its card fails
            for answer in pool.map(one.compute, [slot.order(shape, recipe) for slot in slots]):
                if answer.lost or not answer.fits:
                    raise RuntimeError(answer.lost or "out of memory")

    with ThreadPoolExecutor(server.THREADS) as pool:
        yield run, every * size * channels
    one.close()


def _one(
    side: int,
    floor: float,
    xp: ModuleType,
    seconds: float,
    name: str,
    count: int,
    run: Callable[[], Any],
    check: Callable[[], dict[str, Any]] = dict,
) -> float:
    """Time a candidate and tell of it, or why it failed. Returns matrices/s, 0 where it failed."""
    rate = 0.0
    try:
        checked = check()
        rate = count / _took(run, xp, seconds)
        shares = {
            "matrices_per_s": round(rate, 1),
            "images_per_s": round(rate / 3, 1),
            "of_floor": round(rate / floor, 5),
        }
        tell(what="candidate", n=side, solver=name, planes=count, **shares, **checked)
    except Exception as error:
        rate = 0.0
        tell(what="candidate", n=side, solver=name, failed=f"{type(error).__name__}: {error}"[:300])
    xp.get_default_memory_pool().free_all_blocks()
    return round(rate, 1)


def _took(run: Callable[[], Any], xp: ModuleType, seconds: float) -> float:
    """Seconds of one run, the median of as many as fit into ``seconds``."""
    wait = xp.cuda.runtime.deviceSynchronize
    run()
    wait()
    times: list[float] = []
    while sum(times) < seconds and len(times) < 20:
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _proof(gram: Any, solver: eigh.Solver, wanted: int, xp: ModuleType) -> dict[str, Any]:
    """How many roundings of the largest eigenvalue the residuals are, and matrices that the guards refuse."""
    values, vectors = solver(gram, wanted, xp)
    rounding = guards.EPS * xp.maximum(values[:, 0], 1.0)  # black planes have none
    residual = xp.abs(gram @ vectors - vectors * values[:, None, :wanted]).max(axis=(1, 2)) / rounding
    refused = len(gram) - int(guards.sound(gram, values, vectors, xp).sum())
    return {"residual_roundings": round(float(residual.max()), 2), "refused": refused}


def wrong_bytes(host: np.ndarray, recipe: Recipe, stage: Callable[[], Computed]) -> dict[str, Any]:
    """Bytes of low-rank images that are not LAPACK's, at a rounding tie and elsewhere, where the cut is unique."""
    some, found = host[: max(1, _CHECKED // host[0].size)], stage()
    left, values, right = np.linalg.svd(some.astype(np.float64), full_matrices=False)
    wrong = ties = 0
    for rank in sorted({variant.rank for variant in recipe.wanted}):
        cut = (left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank]
        near = 0.5 - np.abs(cut - np.rint(cut)) < svd.TIE
        unique = (values[:, rank - 1] - values[:, rank] > svd.GAP * values[:, 0])[:, None, None]
        stored = found.cuts[Variant("low", rank)].pixels.get().reshape(-1, *some.shape[1:])[: len(some)]
        differ = (stored != np.clip(np.rint(cut), 0, 255)) & unique
        wrong, ties = wrong + int((differ & ~near).sum()), ties + int((differ & near).sum())
    recomputed = sum(cut.statistics.recomputed for variant, cut in found.cuts.items() if variant.component == "low")
    return {"wrong": wrong, "wrong_at_ties": ties, "repaired": found.repaired, "recomputed": recomputed}


def _torch(name: str, matrices: Any) -> Any:
    import torch

    return getattr(torch.linalg, name)(torch.utils.dlpack.from_dlpack(matrices))


def photographs(side: int, count: int) -> np.ndarray:
    """uint8 (count, side, side): planes of random crops of photographs, in groups of three that are one image."""
    generator = np.random.default_rng(side)
    photos = [np.asarray(photo) for photo in inputs.photographs()]
    distinct = min(count, 384)
    crops = [inputs._crop(photos[i % len(photos)], (side, side), generator) for i in range(distinct // 3)]
    planes = np.concatenate([crop.transpose(2, 0, 1) for crop in crops])
    shifted = [np.roll(planes, 1 + turn, axis=1) for turn in range(-(-count // len(planes)))]
    return np.ascontiguousarray(np.concatenate(shifted)[:count])


if __name__ == "__main__":
    main()
