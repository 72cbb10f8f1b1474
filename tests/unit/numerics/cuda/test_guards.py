"""The guards accept LAPACK's eigenpairs of any image, and find each kind of error."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.numerics.cuda import guards
from tests.unit.numerics.cuda.planes import gram, planes


@pytest.mark.parametrize("side", [2, 7, 32, 65, 130])
def test_the_guards_accept_lapack_on_any_image(side: int) -> None:
    matrices = gram(planes(side))
    values, vectors = np.linalg.eigh(matrices)
    count = min(side, 64)
    assert guards.sound(matrices, values[:, ::-1], vectors[:, :, ::-1][:, :, :count], np).all()


def _swap(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[[3, 4]] = vectors[[4, 3]]  # two rows: still orthonormal


def _turn(values: np.ndarray, vectors: np.ndarray) -> None:
    second, third = vectors[:, 1].copy(), vectors[:, 2].copy()
    vectors[:, 1], vectors[:, 2] = second + 1e-9 * third, third - 1e-9 * second


def _skew(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[:, 0] *= 1 + 1e-11


def _not_a_number(values: np.ndarray, vectors: np.ndarray) -> None:
    vectors[5, 5] = np.nan


def _lost_value(values: np.ndarray, vectors: np.ndarray) -> None:
    values[-1] -= 1e-9 * values[0]


def _unordered(values: np.ndarray, vectors: np.ndarray) -> None:
    values[[-1, -2]] = values[[-2, -1]]


@pytest.mark.parametrize("spoil", [_swap, _turn, _skew, _not_a_number, _lost_value, _unordered])
def test_the_guards_find_an_error_in_one_matrix(spoil: Callable[[np.ndarray, np.ndarray], None]) -> None:
    matrices = gram(planes(40))[[0, 1, 4, 5]]
    values, vectors = np.linalg.eigh(matrices)
    values, vectors = values[:, ::-1].copy(), vectors[:, :, ::-1].copy()
    assert guards.sound(matrices, values, vectors, np).tolist() == [True] * 4
    spoil(values[2], vectors[2])
    leading = np.ascontiguousarray(vectors[:, :, :20])
    assert guards.sound(matrices, values, leading, np).tolist() == [True, True, False, True]
