"""On a real GPU: the bytes of float64 LAPACK and of the CPU, at every run and in any batch. ``python -m pytest -m gpu``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import inputs
from bench.gpu.measure import photographs
from pipeline.execution import device, run
from pipeline.execution.gpus.client import in_process
from pipeline.execution.gpus.gpu import Gpu
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import variants
from pipeline.planning.job import Job
from tests.conftest import contents

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(device.missing()), reason=f"needs a GPU: {device.missing()}"),
]

TIE, GAP = 1e-5, 1e-9  # of the contract, docs/numerics.md


@pytest.fixture(scope="module")
def xp() -> Any:
    import cupy

    return cupy


def differing(pixels: np.ndarray, ranks: tuple[int, ...], computed: Computed) -> tuple[int, int]:
    """Counts bytes of low and high that differ from LAPACK's, where the cut is unique.

    Returns:
        The number away from rounding ties, and the number near them.
    """
    planes = pixels.reshape(-1, *pixels.shape[2:])
    exact = planes.astype(np.float64)
    left, values, right = np.linalg.svd(exact, full_matrices=False)
    wrong = near = 0
    for rank in ranks:
        truncated = (left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank]
        rounded = np.rint(truncated)
        tie = 0.5 - np.abs(truncated - rounded) < TIE
        unique = (values[:, rank - 1] - values[:, rank] > GAP * values[:, 0])[:, None, None]
        expected = {"low": np.clip(rounded, 0, 255), "high": np.clip(exact - rounded + 128, 0, 255)}
        for variant, cut in computed.cuts.items():
            if variant.rank == rank:
                differs = (cut.pixels.reshape(planes.shape) != expected[variant.component]) & unique
                wrong, near = wrong + int((differs & ~tie).sum()), near + int((differs & tie).sum())
    return wrong, near


def assert_contract(pixels: np.ndarray, ranks: tuple[int, ...], computed: Computed) -> None:
    wrong, near = differing(pixels, ranks, computed)
    print(f"\n{len(pixels):,} images at ranks {ranks}: {wrong} wrong, {near} at ties, {computed.repaired} repaired")
    assert wrong == 0
    assert near <= 1e-6 * pixels.size * 2 * len(ranks)
    on_cpu = compute(pixels, Recipe(tuple(computed.cuts), min(pixels.shape[2:])))
    for variant, cut in on_cpu.cuts.items():
        assert (cut.pixels != computed.cuts[variant].pixels).sum() <= 1e-6 * pixels.size
        assert cut.statistics.degenerate == computed.cuts[variant].statistics.degenerate


@pytest.mark.parametrize("count", [3000, pytest.param(10**6, marks=pytest.mark.full)])
def test_lossless_cifar_images(count: int, cifar_planes: Callable[[int], np.ndarray], xp: Any) -> None:
    pixels, ranks = cifar_planes(count).reshape(-1, 3, 32, 32), (1, 3, 5, 10, 20, 31)
    assert_contract(pixels, ranks, in_process(Gpu(xp))(pixels, Recipe(variants(ranks, ("low", "high")), 32))())


def test_photographs_of_224_pixels(xp: Any) -> None:
    pixels, ranks = photographs(224, 192).reshape(-1, 3, 224, 224), (10, 30, 50, 100)
    assert_contract(pixels, ranks, in_process(Gpu(xp))(pixels, Recipe(variants(ranks, ("low", "high")), 224))())


@pytest.mark.parametrize("side", [32, 96, 224])
def test_the_same_bits_again_and_in_other_batches(side: int, xp: Any) -> None:
    pixels = photographs(side, 96).reshape(-1, 3, side, side)
    recipe = Recipe(variants((1, 10, 25), ("low", "high"), exact=True), side)
    begin = in_process(Gpu(xp))
    whole = begin(pixels, recipe)()
    for size in (len(pixels), 1, 7, 16):
        for start in range(0, len(pixels), size):
            part = begin(pixels[start : start + size], recipe)()
            for variant, cut in part.cuts.items():
                np.testing.assert_array_equal(cut.pixels, whole.cuts[variant].pixels[start : start + size])


@pytest.mark.parametrize("side", [2, 8, 32, 64, 224])
@pytest.mark.parametrize("solver", [eigh.syevj, eigh.xsyev])
def test_the_guards_accept_each_solver_on_photographs(solver: eigh.Solver, side: int, xp: Any) -> None:
    planes = xp.asarray(photographs(side, 96)).astype(xp.float64)
    gram = planes.swapaxes(1, 2) @ planes
    values, vectors = solver(gram, min(side, 64), xp)
    assert bool(guards.sound(gram, values, vectors, xp).all())


@pytest.mark.parametrize("workers", [0, pytest.param(4, marks=pytest.mark.ray)])
def test_a_build_writes_the_images_of_the_cpu(workers: int, tmp_path: Path) -> None:
    data = inputs.photograph_folder(tmp_path / "data", 48)
    job = {"dataset": "folder", "data-dir": str(data), "ranks": "10,50", "components": "low,high,full", "resize": 256}
    job |= {"crop": 224, "samples-per-shard": 12, "quiet": True}
    for name in ("cpu", "cuda"):
        run.build(Job.parse({**job, "device": name, "workers": workers, "out": str(tmp_path / name)}))
    on_cpu, on_gpu = contents(tmp_path / "cpu"), contents(tmp_path / "cuda")
    tars = [name for name in on_cpu if name.endswith(".tar")]
    assert len(tars) == 20
    assert [name for name in tars if on_cpu[name] != on_gpu[name]] == []
