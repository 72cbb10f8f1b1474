"""Eigenvectors of a card are proved before they are used, and LAPACK's taken where the proof fails."""

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.numerics import svd
from pipeline.numerics.batch import Recipe, compute
from pipeline.numerics.cuda import eigh, guards, xsyev
from pipeline.numerics.variants import Variant, variants
from tests.conftest import smooth
from tests.unit.execution.gpus import fake
from tests.unit.execution.gpus.fake import Array

xp: Any = fake


def planes(side: int, count: int = 6, width: int | None = None) -> np.ndarray:
    """uint8 (count, side, width): smooth ones, one of noise, a flat and a black one."""
    rng = np.random.default_rng(side)
    made = np.stack([smooth(rng, side, width or side)[:, :, 0] for _ in range(count)])
    made[1] = rng.integers(0, 256, made[1].shape)
    made[2], made[3] = 77, 0
    return made


def gram(pixels: np.ndarray) -> np.ndarray:
    exact = pixels.astype(np.float64)
    product: np.ndarray = exact.swapaxes(1, 2) @ exact
    return product


@pytest.mark.parametrize("side", [2, 7, 32, 65, 130])
def test_the_guards_pass_lapack_on_any_image(side: int) -> None:
    matrices = gram(planes(side))
    values, vectors = np.linalg.eigh(matrices)
    wanted = min(side, 64)
    verdict = guards.sound(matrices, values[:, ::-1], vectors[:, :, ::-1][:, :, :wanted], np)
    assert verdict.all()


def _swap(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[[3, 4]] = vectors[[4, 3]]  # two rows: still orthonormal


def _turn(values: np.ndarray, vectors: np.ndarray) -> None:
    one, two = vectors[:, 1].copy(), vectors[:, 2].copy()
    vectors[:, 1], vectors[:, 2] = one + 1e-9 * two, two - 1e-9 * one


def _skew(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[:, 0] *= 1 + 1e-11


def _not_a_number(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[5, 5] = np.nan


def _lost_value(values: np.ndarray, vectors: np.ndarray) -> None:
    values[-1] -= 1e-9 * values[0]


def _unordered(values: np.ndarray, vectors: np.ndarray) -> None:
    values[[-1, -2]] = values[[-2, -1]]


@pytest.mark.parametrize("spoil", [_swap, _turn, _skew, _not_a_number, _lost_value, _unordered])
def test_the_guards_find_what_is_wrong_in_one_matrix(spoil: Callable[[np.ndarray, np.ndarray], None]) -> None:
    matrices = gram(planes(40))[[0, 1, 4, 5]]
    values, vectors = np.linalg.eigh(matrices)
    values, vectors = values[:, ::-1].copy(), vectors[:, :, ::-1].copy()
    assert guards.sound(matrices, values, vectors, np).tolist() == [True] * 4
    spoil(values[2], vectors[2])
    leading = np.ascontiguousarray(vectors[:, :, :20])
    assert guards.sound(matrices, values, leading, np).tolist() == [True, True, False, True]


@pytest.mark.parametrize("fault", ["wrong", "diverged"])
@pytest.mark.parametrize(("side", "repaired"), [(32, 1), (100, 0)])
def test_what_a_card_gets_wrong_is_put_right(side: int, repaired: int, fault: str, tmp_path: Path) -> None:
    """By its other solver where it has one, else by LAPACK, which is counted."""
    pixels = planes(side).reshape(-1, 3, side, side)
    recipe = Recipe(variants((1, 5, 20), ("low", "high")), side, factors=20)
    right = compute(pixels, recipe)
    with fake.faults(tmp_path, fault):
        found = compute(fake.asarray(pixels), recipe, xp)
    assert found.repaired == repaired
    for variant, one in right.cuts.items():
        np.testing.assert_array_equal(one.pixels, found.cuts[variant].pixels.get())
        assert one.statistics == found.cuts[variant].statistics
    np.testing.assert_allclose(right.rows["spectra"], found.rows["spectra"].get(), rtol=1e-6, atol=1e-6)


def test_a_solver_that_raises_leaves_all_to_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = gram(planes(32))

    def diverges(*_: Any) -> Any:
        raise np.linalg.LinAlgError("cusolver did not converge")

    monkeypatch.setattr(eigh, "syevj", diverges)
    values, vectors, repaired = eigh.leading(fake.asarray(matrices), 5, xp, diverges)
    assert repaired == len(matrices)
    assert guards.sound(matrices, values.get(), vectors.get(), np).all()


def test_a_call_takes_no_more_than_the_solver_can(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def solver(part: Array, wanted: int, namespace: Any) -> Any:
        sizes.append(len(part))
        return eigh.syevj(part, wanted, namespace)

    monkeypatch.setattr(eigh, "_MOST", 4)
    together = eigh.leading(fake.asarray(gram(planes(32))), 32, xp)
    apart = eigh.leading(fake.asarray(gram(planes(32))), 32, xp, solver)
    assert sizes == [4, 2]
    np.testing.assert_array_equal(together[1].get(), apart[1].get())


@pytest.mark.parametrize(("height", "width"), [(20, 50), (50, 20), (130, 128), (96, 200)])
def test_oblong_planes_have_the_bytes_of_the_cpu(height: int, width: int) -> None:
    pixels = planes(height, width=width).reshape(-1, 3, height, width)
    side = min(height, width)
    recipe = Recipe(variants((1, 5, 19), ("low", "high", "full"), exact=True), side, 15)
    ours, cards = compute(pixels, recipe), compute(fake.asarray(pixels), recipe, xp)
    for variant, one in ours.cuts.items():
        if variant.exact:
            np.testing.assert_allclose(one.pixels, cards.cuts[variant].pixels.get(), atol=1e-7)
        else:
            np.testing.assert_array_equal(one.pixels, cards.cuts[variant].pixels.get())
            assert one.statistics == cards.cuts[variant].statistics
    u, s, v = (cards.rows[name].get() for name in "usv")
    np.testing.assert_allclose((u * s[..., None, :]) @ v.swapaxes(-1, -2), svd_cut(pixels, 15) / 255, atol=1e-9)


def svd_cut(pixels: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
    product: np.ndarray = (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]
    return product


def test_planes_at_a_rounding_tie_are_lapacks_on_a_card_as_well() -> None:
    tie = np.full((3, 32, 32), 100, np.uint8)
    tie[:, :16] = 101  # its rank 1 image is itself; halves of it at a checkerboard are not
    tie[:, ::2, ::2] = 50
    pixels = tie[None]
    ours = svd.truncate(svd.decompose(tie), 1)
    cards = svd.truncate(svd.decompose(fake.asarray(tie), 1, xp), 1, xp)
    np.testing.assert_array_equal(ours.rounded, cards.rounded.get())
    assert ours[2:] == cards[2:]
    assert compute(pixels, Recipe((Variant("low", 1),), 32)).cuts[Variant("low", 1)].pixels.dtype == np.uint8


def test_the_solver_is_the_fastest_measured_at_the_nearest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tmp_path / "measured.json"
    measured.write_text(
        '[{"n": 32, "solver": "xsyev", "matrices_per_s": 9}, {"n": 32, "solver": "syevj", "matrices_per_s": 5},'
        ' {"n": 224, "solver": "syevj", "matrices_per_s": 3}, {"n": 224, "solver": "xsyev", "matrices_per_s": 2}]'
    )
    monkeypatch.setattr(eigh, "_MEASURED", measured)
    eigh.choose.cache_clear()
    assert [eigh.choose(n, xp) for n in (8, 40, 200, 500)] == [eigh.xsyev, eigh.xsyev, eigh.syevj, eigh.syevj]
    measured.write_text("[]")
    eigh.choose.cache_clear()
    assert [eigh.choose(n, xp) for n in (32, 33)] == [eigh.syevj, eigh.xsyev]
    measured.write_text(
        '[{"n": 32, "solver": "jacobi", "matrices_per_s": 9}, {"n": 32, "solver": "xsyev", "matrices_per_s": 5}]'
    )
    eigh.choose.cache_clear()
    assert [eigh.choose(n, xp) for n in (8, 32, 33)] == [eigh.jacobi, eigh.jacobi, eigh.xsyev]
    eigh.keep(
        [{"n": 224, "solver": "tridiagonal", "matrices_per_s": 7}, {"n": 224, "solver": "xsyev", "matrices_per_s": 2}]
    )
    eigh.keep([{"n": 32, "solver": "xsyev", "matrices_per_s": 8}, {"n": 32, "solver": "syevj", "matrices_per_s": 9}])
    assert [eigh.choose(n, xp) for n in (8, 32, 200, 225)] == [eigh.syevj, eigh.syevj, eigh.tridiagonal, eigh.xsyev]
    assert len(json.loads(measured.read_text())) == 4
    eigh.choose.cache_clear()


class Library:
    """A libcusolver of some version, which solves with LAPACK what its pointers point to."""

    def __init__(self, version: tuple[int, int, int], status: int = 0) -> None:
        self._version, self._status = version, status

    def __getattr__(self, name: str) -> Any:
        if name == "cusolverDnXsyevBatched" and self._version < (11, 7, 1):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name == "cusolverGetProperty":
                arguments[1]._obj.value = self._version[arguments[0]]
                return 0
            return self._status

        vars(self)[name] = call
        return call


@pytest.mark.parametrize(
    ("version", "text"), [((11, 6, 9), "has no cusolverDnXsyevBatched"), ((11, 7, 2), "can give wrong eigenvectors")]
)
def test_a_cusolver_that_is_too_old_is_refused(
    version: tuple[int, int, int], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: Library(version))
    with pytest.raises(PipelineError, match=text):
        xsyev.load()


def test_the_cusolver_that_is_loaded_comes_before_a_newer_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy of CUDA 12 has loaded the former; the toolkit of CUDA 13 beside it lies where the loader looks."""
    taken = []

    def found(name: str, mode: int) -> Library:
        if mode & os.RTLD_NOLOAD and name.endswith("12"):
            raise OSError(name)
        taken.append(name)
        return Library((11, 7, 5))

    monkeypatch.setattr(ctypes, "CDLL", found)
    xsyev.load()
    assert taken == ["libcusolver.so.11"]


def test_a_cusolver_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str, mode: int) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", nowhere)
    with pytest.raises(PipelineError, match="cuSOLVER is not here"):
        xsyev.load()
