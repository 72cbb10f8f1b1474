"""Each step for small planes equals its counterpart in plain NumPy, for each of the eight planes in the lanes."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.numerics.kernels import eigenvalues as root_free
from pipeline.numerics.kernels.small import cuts, gram, householder, transfer
from pipeline.numerics.kernels.small import eigenvectors as twisted
from tests.unit.numerics.kernels.large import reference

EPS = 2.0**-52
SIDES = [1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 64]
SHAPES = [(1, 1), (2, 1), (3, 3), (7, 5), (9, 8), (11, 9), (32, 32), (45, 13), (64, 64)]  # l, n


def columns(n: int) -> int:
    """The distance of eigenvectors, ``small.odd``."""
    return n if n % 2 else n + 1


def planes(height: int, width: int) -> np.ndarray:
    """Eight planes whose singular values fall quickly, as those of photographs."""
    rng = np.random.default_rng(height * 100 + width)
    smooth = rng.normal(size=(8, height, width)).cumsum(1).cumsum(2) * 20 / np.sqrt(height * width)
    pixels: np.ndarray = np.clip(128 + smooth + rng.normal(size=smooth.shape), 0, 255).astype(np.uint8)
    return pixels


def matrices(n: int) -> np.ndarray:
    levels = planes(n + 3, n).astype(float)
    product: np.ndarray = levels.swapaxes(1, 2) @ levels
    return product


def into_lanes(array: np.ndarray) -> np.ndarray:
    """Eight arrays as one flat array with the lanes last."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1)).astype(float).reshape(-1)


def from_lanes(flat: np.ndarray, *shape: int) -> np.ndarray:
    """The contrary of ``into_lanes``."""
    return np.moveaxis(flat[: 8 * int(np.prod(shape))].reshape(*shape, 8), -1, 0)


def tridiagonal(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T of ``matrices``: diagonals (8, n), off-diagonals (8, n - 1), and eigenvalues (8, n), descending."""
    forms = [reference.reduce_to_tridiagonal(matrix) if n > 2 else None for matrix in matrices(n)]
    diagonal = np.array([np.diag(m) if f is None else f.diagonal for f, m in zip(forms, matrices(n), strict=True)])
    beside = np.array([np.diag(m, 1) if f is None else f.beside for f, m in zip(forms, matrices(n), strict=True)])
    full = np.array([np.diag(d) + np.diag(b, 1) + np.diag(b, -1) for d, b in zip(diagonal, beside, strict=True)])
    return diagonal, beside, np.linalg.eigvalsh(full)[:, ::-1]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("length", "n"), SHAPES)
def test_strips_of_pixels_become_lanes_and_rounded_strips_planes(length: int, n: int, wide: bool) -> None:
    pixels = planes(*((n, length) if wide else (length, n)))
    tall = pixels.swapaxes(1, 2) if wide else pixels
    first, rows = length // 3, length - length // 3 - length // 5
    order = np.array([3, 0, 7, 7, 1, 2, 6, 5])
    strip = np.full(rows * n * 8, -1.0)
    transfer.read_strip(pixels.reshape(-1), order * length * n, (length, n, wide), first, rows, strip)
    np.testing.assert_array_equal(from_lanes(strip, rows, n), tall[order, first : first + rows])
    rounded = np.full((8, *pixels.shape[1:]), -9, np.int16)
    transfer.write_strip(strip.astype(np.int16) - 300, (length, n, wide), first, rows, 8, rounded.reshape(-1), 0)
    exact = np.zeros((5, *pixels.shape[1:]))
    transfer.write_exact_strip(strip, (length, n, wide), first, rows, 5, exact.reshape(-1), 0)
    expected = np.full((8, length, n), -9)
    expected[:, first : first + rows] = tall[order, first : first + rows] - 300.0
    np.testing.assert_array_equal(rounded.swapaxes(1, 2) if wide else rounded, expected)
    actual = exact.swapaxes(1, 2) if wide else exact
    np.testing.assert_array_equal(actual[:, first : first + rows], tall[order[:5], first : first + rows])
    assert not np.delete(actual, np.s_[first : first + rows], axis=1).any()


@pytest.mark.parametrize(("length", "n"), SHAPES)
def test_gram_matrices_are_those_of_whole_numbers(length: int, n: int) -> None:
    pixels = planes(length, n)
    matrix = np.full(n * n * 8, np.nan)
    gram.clear(matrix, n * n)
    for first in range(0, length, 20):
        rows = min(20, length - first)
        gram.add_gram(into_lanes(pixels[:, first : first + rows]), rows, n, matrix)
    upper = np.triu(np.ones((n, n), bool))
    expected = np.array([plane.T.astype(np.int64) @ plane.astype(np.int64) for plane in pixels])
    np.testing.assert_array_equal(from_lanes(matrix, n, n)[:, upper], expected[:, upper])


@pytest.mark.parametrize("n", SIDES)
def test_the_tridiagonal_form_and_its_products_are_those_of_single_reflectors(n: int) -> None:
    a = matrices(n)
    flat = into_lanes(np.where(np.triu(np.ones((n, n), bool)), a, np.nan))
    diagonal, beside, scales, *rooms = np.zeros((7, n * 8))
    householder.reduce(flat, n, diagonal, beside, scales, rooms[0], rooms[1], rooms[2])
    count = min(n, 5)
    vectors = np.random.default_rng(n).normal(size=(8, count, columns(n)))
    times_q = into_lanes(vectors)
    householder.multiply_by_q(flat, scales, n, times_q, count, rooms[3])
    actual = from_lanes(times_q, count, columns(n))[:, :, :n]
    for k in range(8):
        bound = float(4 * n * EPS * np.linalg.norm(a[k], 2))
        d, b = from_lanes(diagonal, n)[k], from_lanes(beside, n)[k][: n - 1]
        if n < 3:
            np.testing.assert_array_equal(np.diag(a[k]), d)
            np.testing.assert_array_equal(np.diag(a[k], 1), b)
            np.testing.assert_array_equal(actual[k], vectors[k, :, :n])
            continue
        form = reference.reduce_to_tridiagonal(a[k])
        # Small elements depend on the rounding errors before them. Both forms must be similar to G.
        np.testing.assert_allclose(d[0], form.diagonal[0], atol=bound)
        np.testing.assert_allclose(b[0], form.beside[0], atol=bound)
        reflectors = from_lanes(flat, n, n)[k]
        v = np.array([np.where(np.arange(n) > j, reflectors[j], 0.0) for j in range(n - 2)])
        own = reference.Tridiagonal(d, b, v, from_lanes(scales, n)[k][: n - 2])
        q = own.times_q(np.eye(n))
        np.testing.assert_allclose(q @ q.T, np.eye(n), atol=4 * n * EPS)
        np.testing.assert_allclose(q @ own.matrix @ q.T, a[k], atol=bound)
        np.testing.assert_allclose(actual[k].T, own.times_q(vectors[k, :, :n].T), atol=1e-13)


def root_free_qr(diagonal: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """All eigenvalues of one tridiagonal matrix, ascending, by the formulas of LAPACK's dsterf (its QR branch)."""
    d, squares, end = diagonal.copy(), beside**2, len(diagonal) - 1
    while end > 0:
        if (
            squares[end - 1] <= EPS**2 / 4 * abs(d[end - 1] * d[end])
            or squares[end - 1] <= (EPS * abs(d).max() / 8) ** 2
        ):
            end -= 1
            continue
        root = np.sqrt(squares[end - 1])
        half = (d[end - 1] - d[end]) / (2 * root)
        shift = d[end] - root / (half + np.copysign(np.hypot(half, 1), half))
        cosine, sine, gamma = 1.0, 0.0, d[0] - shift
        p = gamma**2
        for i in range(end):
            r = p + squares[i]
            if i:
                squares[i - 1] = sine * r
            before, cosine, sine = cosine, p / r, squares[i] / r
            old, gamma = gamma, cosine * (d[i + 1] - shift) - sine * gamma
            d[i] = old + (d[i + 1] - gamma)
            p = gamma**2 / cosine if cosine else before * squares[i]
        squares[end - 1], d[end] = sine * p, shift + gamma
    return np.sort(d)


def solve(diagonal: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """The compiled eigenvalues (8, n) of diagonals (8, n)."""
    n = diagonal.shape[1]
    values, squares, state = np.empty(n * 8), np.empty(n * 8), np.empty(5 * 8)
    padded = np.concatenate([beside, np.full((8, 1), np.nan)], axis=1)
    root_free.eigenvalues(into_lanes(diagonal), into_lanes(padded), n, values, squares, np.empty(8, np.int64), state)
    return from_lanes(values, n)


@pytest.mark.parametrize("n", SIDES)
def test_eigenvalues_are_those_of_root_free_qr_and_of_lapack(n: int) -> None:
    diagonal, beside, values = tridiagonal(n)
    actual = solve(diagonal, beside)
    plain = [root_free_qr(d, b)[::-1] for d, b in zip(diagonal, beside, strict=True)]
    for expected in (values, plain):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * np.sqrt(n) * EPS * values.max())


SPECIAL: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "zero": lambda d, b: (0 * d, 0 * b),
    "diagonal": lambda d, b: (d, 0 * b),
    "split in the middle": lambda d, b: (d, np.where(np.arange(len(b)) == 8, 0.0, b)),
    "zero diagonal": lambda d, b: (0 * d, 0 * b + 1.0),
    "equal": lambda d, b: (0 * d + 7.0, 0 * b),
    "upside down": lambda d, b: (d[::-1], b[::-1]),
    "tiny beside": lambda d, b: (d, b * 1e-150),
}


def test_special_matrices_in_some_lanes_have_their_eigenvalues_and_do_not_disturb_the_others() -> None:
    diagonal, beside, _ = tridiagonal(17)
    usual = solve(diagonal, beside)
    for lane, change in enumerate(SPECIAL.values()):
        diagonal[lane], beside[lane] = change(diagonal[lane], beside[lane])
    actual = solve(diagonal, beside)
    np.testing.assert_array_equal(actual[len(SPECIAL) :], usual[len(SPECIAL) :])
    for d, b, values in zip(diagonal, beside, actual, strict=True):
        exact = np.linalg.eigvalsh(np.diag(d) + np.diag(b, 1) + np.diag(b, -1))[::-1]
        np.testing.assert_allclose(values, exact, rtol=0, atol=20 * EPS * abs(exact).max())


def test_eigenvalues_of_whole_numbers_where_many_steps_meet_exact_zeros() -> None:
    rng = np.random.default_rng(8)
    for n in (2, 3, 5, 8, 17):
        for _ in range(60):
            diagonal, beside = rng.integers(-1, 2, (8, n)).astype(float), rng.integers(0, 2, (8, n - 1)).astype(float)
            full = [np.diag(d) + np.diag(b, 1) + np.diag(b, -1) for d, b in zip(diagonal, beside, strict=True)]
            exact = np.linalg.eigvalsh(full)[:, ::-1]
            np.testing.assert_allclose(solve(diagonal, beside), exact, rtol=0, atol=1e-14)


def test_a_lane_that_does_not_converge_is_nan_alone() -> None:
    diagonal, beside, _ = tridiagonal(9)
    usual = solve(diagonal, beside)
    beside[3, 4] = np.nan
    actual = solve(diagonal, beside)
    assert np.isnan(actual[3]).all()
    np.testing.assert_array_equal(np.delete(actual, 3, axis=0), np.delete(usual, 3, axis=0))


@pytest.mark.parametrize("n", SIDES)
def test_eigenvectors_and_their_measures_are_those_of_twisted_factorisation(n: int) -> None:
    diagonal, beside, values = tridiagonal(n)
    count = min(n, 6)
    vectors, errors = np.full(count * columns(n) * 8, np.nan), np.full(count * 16, np.nan)
    padded = np.concatenate([beside, np.full((8, 1), np.nan)], axis=1)
    above, below = np.empty((2, n * 8))
    lanes = (into_lanes(diagonal), into_lanes(padded), n, into_lanes(values))
    twisted.eigenvectors(*lanes, count, vectors, above, below, errors)
    actual = from_lanes(vectors, count, columns(n))[:, :, :n]
    measured = from_lanes(errors, count, 2)
    for k in range(8):
        plain = [reference.twisted_vector(diagonal[k], beside[k], value) for value in values[k, :count]]
        z = np.array([vector for vector, _ in plain])
        signs = np.sign((z * actual[k]).sum(axis=1, keepdims=True))
        # the vectors differ as their eigenvalues' rounding errors let them
        gaps = np.array([np.abs(np.delete(values[k], j) - values[k, j]).min(initial=np.inf) for j in range(count)])
        allowed = 200 * n * EPS * values[k, 0] / gaps
        assert (np.abs(actual[k] - signs * z).max(axis=1) <= allowed + 1e-15).all()
        full = np.diag(diagonal[k]) + np.diag(beside[k], 1) + np.diag(beside[k], -1)
        residuals = np.linalg.norm(actual[k] @ full - actual[k] * values[k, :count, None], axis=1)
        residual, skew = reference.measures(actual[k].T, values[k], residuals)
        np.testing.assert_allclose(measured[k, :, 0], residual, atol=8 * EPS * values[k, 0])
        np.testing.assert_allclose(measured[k, :, 1], skew, rtol=1e-6, atol=8 * EPS * np.sqrt(values[k, 0]))


def test_entries_that_would_become_denormal_are_zero() -> None:
    n = 40
    diagonal, beside = np.tile(4.0 ** np.arange(n, 0, -1), (8, 1)), np.full((8, n), 1e-3)
    values = np.sort(solve(diagonal, beside[:, :-1]))[:, ::-1]
    vectors, errors, above, below = np.empty(n * 41 * 8), np.empty(n * 16), np.empty(n * 8), np.empty(n * 8)
    twisted.eigenvectors(
        into_lanes(diagonal), into_lanes(beside), n, into_lanes(values), 4, vectors, above, below, errors
    )
    entries = np.abs(from_lanes(vectors, 4, 41)[:, :, :n])
    assert (entries == 0).any()
    assert entries[entries > 0].min() > 1e-100


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (2, 3), (5, 4), (32, 9), (31, 32)])
def test_cuts_are_sums_of_products_and_their_ties_are_measured(rows: int, n: int) -> None:
    rng = np.random.default_rng(rows)
    a, ranks = planes(rows, n).astype(float), np.array(sorted({1, max(1, n // 2), n}))
    v = rng.normal(size=(8, n, columns(n))) / np.sqrt(n)
    scaled = np.zeros(n * 33 * 8)
    cuts.project(into_lanes(a), rows, n, into_lanes(v), n, scaled)
    s = from_lanes(scaled, n, 33)[:, :, :rows]
    np.testing.assert_allclose(s, v[:, :, :n] @ a.swapaxes(1, 2), atol=1e-10)
    halves = np.where(rng.random(s.shape) < 0.5, np.rint(s) / 2, s)  # some sums are ties at rank 1
    v[:, 0, :n] = np.rint(rng.normal(size=(8, n)) * 2)
    scaled.reshape(n, 33, 8)[:, :rows] = np.moveaxis(halves, 0, -1)
    size = len(ranks) * 32 * n * 8
    rounded, exact, ties = np.zeros(size, np.int16), np.zeros(size), np.zeros(len(ranks) * 16)
    cuts.cut(scaled, rows, n, into_lanes(v), ranks, rounded, exact, ties)
    for i, rank in enumerate(ranks):
        for k in range(8):
            plain, _, margin, near = reference.cut(halves[k].T, v[k, :, :n], rank)
            actual = from_lanes(exact, len(ranks), 32, n)[k, i, :rows]
            np.testing.assert_allclose(actual, plain, atol=1e-10)
            own = np.abs(actual - np.rint(actual))
            np.testing.assert_array_equal(from_lanes(rounded, len(ranks), 32, n)[k, i, :rows], np.rint(actual))
            farthest, count = from_lanes(ties, len(ranks), 2)[k, i]
            assert (farthest, count) == (own.max(), (0.5 - own < 1e-5).sum())
            assert (abs(0.5 - farthest - margin) < 1e-10, count) == (True, near)
            assert rank > 1 or rows * n < 100 or near > 0
