"""Eigenpairs from a GPU are checked before they are used; LAPACK solves what fails. The GPU is a substitute (``fake``)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.numerics import svd
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant, variants
from tests.unit.execution.gpus import fake
from tests.unit.execution.gpus.fake import Array
from tests.unit.numerics.cuda.planes import gram, planes

xp: Any = fake


def on_gpu(pixels: np.ndarray, recipe: Recipe) -> Computed:
    return compute(fake.asarray(pixels), recipe, xp, eigh.leading)


@pytest.mark.parametrize("fault", ["wrong", "diverged"])
@pytest.mark.parametrize(("side", "repaired"), [(32, 1), (100, 0)])
def test_errors_of_a_gpu_are_repaired(side: int, repaired: int, fault: str, tmp_path: Path) -> None:
    """By its other solver where it has one, otherwise by LAPACK, which is counted."""
    pixels = planes(side).reshape(-1, 3, side, side)
    recipe = Recipe(variants((1, 5, 20), ("low", "high")), side, factors=20)
    expected = compute(pixels, recipe)
    with fake.faults(tmp_path, fault):
        actual = on_gpu(pixels, recipe)
    assert actual.repaired == repaired
    for variant, cut in expected.cuts.items():
        np.testing.assert_array_equal(cut.pixels, actual.cuts[variant].pixels.get())
        assert cut.statistics == actual.cuts[variant].statistics
    np.testing.assert_allclose(expected.rows["spectra"], actual.rows["spectra"].get(), rtol=1e-6, atol=1e-6)


def test_lapack_solves_all_matrices_of_a_solver_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = gram(planes(32))

    def diverges(*_: Any) -> Any:
        raise np.linalg.LinAlgError("cusolver did not converge")

    monkeypatch.setattr(eigh, "syevj", diverges)
    pairs = eigh.leading(fake.asarray(matrices), 5, xp, diverges)
    assert pairs.repaired == len(matrices)
    assert guards.sound(matrices, pairs.values.get(), pairs.vectors.get(), np).all()


def test_a_call_has_no_more_matrices_than_the_solver_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def solver(part: Array, count: int, namespace: Any) -> Any:
        sizes.append(len(part))
        return eigh.syevj(part, count, namespace)

    monkeypatch.setattr(eigh, "_MOST", 4)
    together = eigh.leading(fake.asarray(gram(planes(32))), 32, xp)
    apart = eigh.leading(fake.asarray(gram(planes(32))), 32, xp, solver)
    assert sizes == [4, 2]
    np.testing.assert_array_equal(together.vectors.get(), apart.vectors.get())


def test_small_matrices_go_to_syevj_and_large_ones_to_xsyev() -> None:
    assert [eigh.solver_for(n) for n in (2, 32, 33, 224)] == [eigh.syevj, eigh.syevj, eigh.xsyev, eigh.xsyev]


@pytest.mark.parametrize(("height", "width"), [(20, 50), (50, 20), (130, 128), (96, 200)])
def test_oblong_planes_have_the_bytes_of_the_cpu(height: int, width: int) -> None:
    pixels = planes(height, width=width).reshape(-1, 3, height, width)
    side = min(height, width)
    recipe = Recipe(variants((1, 5, 19), ("low", "high", "full"), exact=True), side, 15)
    expected, actual = compute(pixels, recipe), on_gpu(pixels, recipe)
    for variant, cut in expected.cuts.items():
        if variant.exact:
            np.testing.assert_allclose(cut.pixels, actual.cuts[variant].pixels.get(), atol=1e-7)
        else:
            np.testing.assert_array_equal(cut.pixels, actual.cuts[variant].pixels.get())
            assert cut.statistics == actual.cuts[variant].statistics
    u, s, v = (actual.rows[name].get() for name in "usv")
    np.testing.assert_allclose((u * s[..., None, :]) @ v.swapaxes(-1, -2), svd_cut(pixels, 15) / 255, atol=1e-9)


def svd_cut(pixels: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
    product: np.ndarray = (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]
    return product


def test_lapack_recomputes_planes_at_a_rounding_tie_on_a_gpu_as_well() -> None:
    tie = np.full((3, 32, 32), 100, np.uint8)
    tie[:, :16] = 101
    tie[:, ::2, ::2] = 50
    expected = svd.truncate(svd.decompose(tie), 1)
    actual = svd.truncate(svd.decompose(fake.asarray(tie), 1, xp, eigh.leading), 1, xp)
    np.testing.assert_array_equal(expected.rounded, actual.rounded.get())
    assert expected.counts == actual.counts
    assert compute(tie[None], Recipe((Variant("low", 1),), 32)).cuts[Variant("low", 1)].pixels.dtype == np.uint8
