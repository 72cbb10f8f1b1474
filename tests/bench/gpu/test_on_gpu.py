"""The candidates on a real GPU. ``python -m pytest -m gpu``."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from bench.gpu import candidates
from bench.gpu.measure import photographs
from pipeline.execution import device
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.svd import to_host
from pipeline.numerics.variants import variants
from tests.bench.gpu.test_kernels import SOLVABLE, assert_solves
from tests.unit.execution.gpus.test_on_gpu import assert_contract

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(device.missing()), reason=f"needs a GPU: {device.missing()}"),
]
KERNELS = ("jacobi", "tridiagonal")


@pytest.fixture(scope="module")
def xp() -> Any:
    import cupy

    return cupy


@pytest.mark.parametrize(("kernel", "shape"), SOLVABLE)
def test_it_solves_any_matrix(kernel: str, shape: tuple[int, int], xp: Any) -> None:
    assert_solves(kernel, shape, xp.asarray, xp)


@pytest.mark.parametrize("side", [2, 8, 32, 64, 224])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_guards_accept_it_on_photographs(kernel: str, side: int, xp: Any) -> None:
    if kernel not in candidates.able(side, xp):
        pytest.skip(f"{kernel} does not solve matrices of {side} rows here")
    planes = xp.asarray(photographs(side, 96)).astype(xp.float64)
    gram = planes.swapaxes(1, 2) @ planes
    values, vectors = candidates.SOLVERS[kernel](gram, min(side, 64), xp)
    refused = len(gram) - int(guards.sound(gram, values, vectors, xp).sum())
    print(f"\n{kernel}, {side} rows: {refused} of {len(gram)} refused")
    assert refused <= (9 if kernel == "tridiagonal" else 0)  # planes without full rank, see test_kernels.py


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_cuts_within_the_contract(kernel: str, cifar_planes: Callable[[int], np.ndarray], xp: Any) -> None:
    pixels, ranks = cifar_planes(3000).reshape(-1, 3, 32, 32), (1, 3, 5, 10, 20, 31)
    solver = partial(eigh.leading, solver=candidates.SOLVERS[kernel])
    computed = compute(xp.asarray(pixels), Recipe(variants(ranks, ("low", "high")), 32), xp, solver)
    cuts = {variant: cut._replace(pixels=to_host(cut.pixels)) for variant, cut in computed.cuts.items()}
    assert_contract(pixels, ranks, Computed(cuts, {}, computed.repaired))
