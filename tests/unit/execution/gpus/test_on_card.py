"""On a real card: the bytes of float64 LAPACK and of the CPU, every time and in any batch. ``python -m pytest -m gpu``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import gpu, inputs
from pipeline.execution import device, run
from pipeline.execution.gpus.card import Card
from pipeline.execution.gpus.client import in_process
from pipeline.numerics.batch import Recipe, compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.variants import variants
from pipeline.planning.job import Job
from tests.conftest import contents
from tests.unit.numerics.cuda import test_kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(device.missing()), reason=f"takes a card: {device.missing()}"),
]

TIE, GAP = 1e-5, 1e-9  # of the contract, docs/numerics.md


@pytest.fixture(scope="module")
def xp() -> Any:
    import cupy

    return cupy


def differing(pixels: np.ndarray, ranks: tuple[int, ...], found: Any) -> tuple[int, int]:
    """Bytes, low and high, that are not LAPACK's: elsewhere than near a tie, and near one. Planes without a unique cut
    are left out."""
    planes = pixels.reshape(-1, *pixels.shape[2:])
    exact = planes.astype(np.float64)
    left, values, right = np.linalg.svd(exact, full_matrices=False)
    wrong = near = 0
    for rank in ranks:
        cut = (left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank]
        rounded = np.rint(cut)
        tie = 0.5 - np.abs(cut - rounded) < TIE
        same = (values[:, rank - 1] - values[:, rank] > GAP * values[:, 0])[:, None, None]
        expected = {"low": np.clip(rounded, 0, 255), "high": np.clip(exact - rounded + 128, 0, 255)}
        for variant, one in found.cuts.items():
            if variant.rank == rank:
                differs = (one.pixels.reshape(planes.shape) != expected[variant.component]) & same
                wrong, near = wrong + int((differs & ~tie).sum()), near + int((differs & tie).sum())
    return wrong, near


def assert_contract(pixels: np.ndarray, ranks: tuple[int, ...], xp: Any) -> None:
    recipe = Recipe(variants(ranks, ("low", "high")), min(pixels.shape[2:]))
    on_card = in_process(Card(xp))(pixels, recipe)()
    wrong, near = differing(pixels, ranks, on_card)
    print(
        f"\n{len(pixels):,} images at ranks {ranks}: {wrong} wrong, {near} at ties, {on_card.repaired} planes repaired"
    )
    assert wrong == 0
    assert near <= 1e-6 * pixels.size * 2 * len(ranks)
    on_cores = compute(pixels, recipe)
    for variant, one in on_cores.cuts.items():
        assert (one.pixels != on_card.cuts[variant].pixels).sum() <= 1e-6 * pixels.size
        assert one.statistics.degenerate == on_card.cuts[variant].statistics.degenerate


@pytest.mark.parametrize("count", [3000, pytest.param(10**6, marks=pytest.mark.full)])
def test_lossless_cifar_images(count: int, cifar_planes: Callable[[int], np.ndarray], xp: Any) -> None:
    assert_contract(cifar_planes(count).reshape(-1, 3, 32, 32), (1, 3, 5, 10, 20, 31), xp)


def test_photographs_of_224_pixels(xp: Any) -> None:
    assert_contract(gpu.photographs(224, 192).reshape(-1, 3, 224, 224), (10, 30, 50, 100), xp)


@pytest.mark.parametrize("side", [32, 96, 224])
def test_the_same_bits_again_and_in_other_batches(side: int, xp: Any) -> None:
    pixels = gpu.photographs(side, 96).reshape(-1, 3, side, side)
    recipe = Recipe(variants((1, 10, 25), ("low", "high")), side)
    card = in_process(Card(xp))
    whole = card(pixels, recipe)()
    for size in (len(pixels), 1, 7, 16):
        for start in range(0, len(pixels), size):
            part = card(pixels[start : start + size], recipe)()
            for variant, one in part.cuts.items():
                np.testing.assert_array_equal(one.pixels, whole.cuts[variant].pixels[start : start + size])


@pytest.mark.parametrize("side", [2, 8, 32, 64, 224])
@pytest.mark.parametrize("solver", list(eigh.SOLVERS))
def test_the_guards_pass_each_solver_on_photographs(solver: str, side: int, xp: Any) -> None:
    if solver not in eigh.able(side, xp):
        pytest.skip(f"{solver} does not take matrices of {side} rows here")
    planes = xp.asarray(gpu.photographs(side, 96)).astype(xp.float64)
    gram = planes.swapaxes(1, 2) @ planes
    values, vectors = eigh.SOLVERS[solver](gram, min(side, 64), xp)
    refused = len(gram) - int(guards.sound(gram, values, vectors, xp).sum())
    print(f"\n{solver}, {side} rows: {refused} of {len(gram)} refused")
    assert refused <= (9 if solver == "tridiagonal" else 0)  # those without full rank: test_kernels.py


@pytest.mark.parametrize("solver", list(eigh.SOLVERS))
def test_each_solver_cuts_within_the_contract(
    solver: str, cifar_planes: Callable[[int], np.ndarray], xp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eigh, "choose", lambda *_: eigh.SOLVERS[solver])
    assert_contract(cifar_planes(3000).reshape(-1, 3, 32, 32), (1, 3, 5, 10, 20, 31), xp)


@pytest.mark.parametrize("kernel", ["jacobi", "tridiagonal"])
def test_our_kernels_solve_any_matrix(kernel: str, xp: Any) -> None:
    test_kernels.assert_solves(kernel, xp.asarray, xp)


@pytest.mark.parametrize("workers", [0, pytest.param(4, marks=pytest.mark.ray)])
def test_a_build_writes_the_images_of_the_cpu(workers: int, tmp_path: Path) -> None:
    data = inputs.photograph_folder(tmp_path / "data", 48)
    job = {"dataset": "folder", "data-dir": str(data), "ranks": "10,50", "components": "low,high,full", "resize": 256}
    job |= {"crop": 224, "samples-per-shard": 12, "quiet": True}
    for name in ("cpu", "cuda"):
        run.build(Job.parse({**job, "device": name, "workers": workers, "out": str(tmp_path / name)}))
    on_cpu, on_card = contents(tmp_path / "cpu"), contents(tmp_path / "cuda")
    tars = [name for name in on_cpu if name.endswith(".tar")]
    assert len(tars) == 20
    assert [name for name in tars if on_cpu[name] != on_card[name]] == []
