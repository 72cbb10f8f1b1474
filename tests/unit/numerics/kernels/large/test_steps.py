"""Each step for large planes equals its counterpart in plain NumPy (``reference``)."""

from typing import NamedTuple

import numpy as np
import pytest

from pipeline.numerics.kernels import layout
from pipeline.numerics.kernels.large.back_transform import multiply_by_q
from pipeline.numerics.kernels.large.cut import cut
from pipeline.numerics.kernels.large.gram import gram
from pipeline.numerics.kernels.large.measures import measure
from pipeline.numerics.kernels.large.project import fill_strips, project, transpose_vectors
from pipeline.numerics.kernels.large.tridiagonal import reduce_to_tridiagonal, work_size
from pipeline.numerics.kernels.large.vectors import twisted_vectors
from tests.unit.numerics.kernels.large import reference

EPS = 2.0**-52
SIDES = [3, 8, 9, 10, 64, 65, 71, 96, 97, 130]


class Reduced(NamedTuple):
    """What ``reduce_to_tridiagonal`` writes, as it writes it and in the reference's form."""

    flat: np.ndarray
    stride: int
    scales: np.ndarray
    form: reference.Tridiagonal


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a plane whose singular values fall quickly, as those of photographs."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = sum(
        rng.normal() * 60 / k * np.cos(rng.normal() * k * rows / height * 3 + rng.normal() * k * columns / width * 3)
        for k in range(1, 40)
    )
    plane: np.ndarray = np.clip(128 + waves + rng.normal(size=(height, width)) * 4, 0, 255).astype(np.uint8)
    return plane


def reduced(matrix: np.ndarray) -> Reduced:
    n, stride = len(matrix), layout.stride(len(matrix))
    flat = layout.aligned(layout.padded(n) * stride)
    rows = flat.reshape(-1, stride)
    rows[:] = np.nan  # entries left of the blocks on the diagonal must not be read
    for r in range(layout.padded(n)):
        rows[r, r // 8 * 8 : layout.padded(n)] = 0.0
        if r < n:
            rows[r, r // 8 * 8 : n] = matrix[r, r // 8 * 8 :]
    diagonal, beside, scales = np.empty((3, n))
    reduce_to_tridiagonal(flat, stride, diagonal, beside, scales, layout.aligned(work_size(stride)))
    vectors = np.array([np.where(np.arange(n) > j, rows[j, :n], 0.0) for j in range(n - 2)])
    return Reduced(flat, stride, scales, reference.Tridiagonal(diagonal, beside[:-1], vectors, scales[:-2]))


def lanes(vectors: np.ndarray) -> np.ndarray:
    """Returns a copy of the columns (n, m) as (m / 8, n, 8), flat."""
    n, count = vectors.shape
    return vectors.reshape(n, count // 8, 8).transpose(1, 0, 2).flatten()


@pytest.mark.parametrize("shape", [(65, 65), (70, 300), (300, 70), (513, 66), (66, 600), (1, 1), (257, 256)])
@pytest.mark.parametrize("white", [False, True])
def test_gram(shape: tuple[int, int], white: bool) -> None:
    plane = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    plane = np.full(shape, 255, np.uint8) if white else plane
    out = np.empty((min(shape), min(shape)))
    gram(plane, out)
    np.testing.assert_array_equal(out, reference.gram(plane))


@pytest.mark.parametrize("n", SIDES)
def test_tridiagonal_form(n: int) -> None:
    noise = np.random.default_rng(n).normal(size=(n, n))
    for matrix in (noise + noise.T, reference.gram(photograph(n, n)).astype(float)):
        form = reduced(matrix).form
        norm = np.linalg.norm(matrix, 2)
        orthogonal = form.times_q(np.eye(n))
        assert np.abs(orthogonal.T @ orthogonal - np.eye(n)).max() < 40 * EPS
        assert np.abs(orthogonal @ form.matrix @ orthogonal.T - matrix).max() < 20 * EPS * norm
    # The reduction amplifies rounding errors, so number by number it agrees only where the matrix is well conditioned.
    well = noise + noise.T + np.diag(np.arange(n) * 4.0)
    form, expected = reduced(well).form, reference.reduce_to_tridiagonal(well)
    for part, its in zip(form, expected, strict=True):
        np.testing.assert_allclose(part, its, atol=1e-7 * max(1.0, np.abs(its).max()))


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_multiple_of_the_identity_needs_no_reflector(level: float) -> None:
    form = reduced(np.eye(67) * level).form
    np.testing.assert_array_equal(form.matrix, np.eye(67) * level)
    assert not form.scales.any()


@pytest.mark.parametrize(("n", "count"), [(65, 8), (96, 40), (130, 64)])
def test_twisted_vectors(n: int, count: int) -> None:
    form = reference.reduce_to_tridiagonal(reference.gram(photograph(n, n)))
    values = np.zeros(n + 8)
    values[:n] = np.linalg.eigvalsh(form.matrix)[::-1]
    vectors, residuals = np.empty(n * count), np.empty(count)
    beside = np.append(form.beside, np.nan)
    twisted_vectors(form.diagonal, beside, values, count, vectors, residuals, np.empty(2 * n * 8))
    columns = vectors.reshape(-1, n, 8).transpose(1, 0, 2).reshape(n, count)
    for j in range(count):
        z, residual = reference.twisted_vector(form.diagonal, form.beside, values[j])
        np.testing.assert_allclose(
            columns[:, j], z * np.sign(z @ columns[:, j]), atol=1e-9
        )  # the sign depends on the row
        assert residuals[j] == pytest.approx(residual, abs=40 * EPS * values[0])
        error = np.linalg.norm(form.matrix @ columns[:, j] - values[j] * columns[:, j])
        assert error < 40 * EPS * values[0]
        assert residuals[j] == pytest.approx(error, abs=20 * EPS * values[0])  # it measures what it claims to
    assert not ((np.abs(columns) > 0) & (np.abs(columns) < 1e-101)).any()


def test_a_value_that_did_not_converge_has_no_residual() -> None:
    form = reference.reduce_to_tridiagonal(reference.gram(photograph(70, 70)))
    vectors, residuals = np.empty(70 * 8), np.empty(8)
    beside = np.append(form.beside, 0.0)
    twisted_vectors(form.diagonal, beside, np.full(78, np.nan), 8, vectors, residuals, np.empty(2 * 70 * 8))
    assert np.isnan(residuals).all()


@pytest.mark.parametrize("n", SIDES)
@pytest.mark.parametrize("count", [8, 16, 24])
def test_back_transformation(n: int, count: int) -> None:
    part = reduced(reference.gram(photograph(n, n)).astype(float))
    vectors = np.random.default_rng(n).normal(size=(n, count))
    flat = lanes(vectors)
    multiply_by_q(part.flat, part.scales, part.stride, flat, count, np.empty(n))
    expected = part.form.times_q(vectors)
    np.testing.assert_allclose(flat, lanes(expected), atol=200 * EPS * np.abs(vectors).max())


@pytest.mark.parametrize(("n", "count"), [(65, 8), (96, 40), (71, 72)])
def test_vectors_in_strips(n: int, count: int) -> None:
    vectors = np.random.default_rng(n).normal(size=(n, count))
    out = np.full(layout.padded(n) * count, np.nan)
    transpose_vectors(lanes(vectors), n, count, out)
    np.testing.assert_array_equal(out, reference.strips(vectors.T).reshape(-1))


@pytest.mark.parametrize("shape", [(65, 65), (72, 80), (70, 301), (301, 70), (96, 96), (97, 98)])
def test_a_plane_in_strips_and_its_projection(shape: tuple[int, int]) -> None:
    height, width = shape
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    matrix = pixels[1].astype(float) if width > height else pixels[1].T.astype(float)
    n, m = matrix.shape
    out = np.full(layout.padded(m) * n, np.nan)
    fill_strips(pixels.reshape(-1), height * width, height, width, out)
    np.testing.assert_array_equal(out, reference.strips(matrix).reshape(-1))
    vectors = rng.normal(size=(n, 16))
    projected = np.full(layout.padded(m) * 16, np.nan)
    project(out, n, m, lanes(vectors), 16, projected)
    np.testing.assert_allclose(projected, reference.strips(vectors.T @ matrix).reshape(-1), atol=1e-9)


@pytest.mark.parametrize("shape", [(8, 8), (65, 67), (66, 72), (72, 65), (7, 5)])
def test_cut(shape: tuple[int, int]) -> None:
    height, width = shape
    rng = np.random.default_rng(3)
    left, right = rng.normal(size=(height, 16)) * 9, rng.normal(size=(16, width)) * 9
    left[:, 0] = 1.0
    right[0] = rng.integers(0, 255, width) + 0.3
    right[0, width // 2 :] += 0.2 - 3e-6  # close to a tie at rank 1
    ranks = np.array([1, 2, 7, 15])
    rows = np.vstack([left, np.full((-height % 8, 16), np.nan)])  # rows beyond the plane must not count
    size = height * width
    rounded, exact = np.full(3 * 4 * size, 7, np.int16), np.zeros(3 * 4 * size)
    margins, near, ties = np.empty(4), np.empty(4, np.int64), np.empty(2 * 4 * 8)
    shapes = (reference.strips(rows.T).reshape(-1), reference.strips(right).reshape(-1), height, width, 16)
    for planes in (exact, np.empty(0)):
        rounded[:] = 7
        cut(*shapes, ranks, rounded, planes, size, 3 * size, ties, margins, near)
        for i, rank in enumerate(ranks):
            expected, levels, margin, close = reference.cut(left, right, rank)
            cuts = rounded.reshape(4, 3, height, width)
            np.testing.assert_array_equal(cuts[i, 1], levels)
            assert (cuts[i, [0, 2]] == 7).all()  # other planes are not touched
            np.testing.assert_allclose(exact.reshape(cuts.shape)[i, 1], expected, atol=1e-12)
            assert margins[i] == pytest.approx(margin, abs=1e-12)
            assert near[i] == close
    assert near[0] == height * (width - width // 2)


def test_measures() -> None:
    rng = np.random.default_rng(4)
    n, count = 70, 24
    vectors = np.linalg.qr(rng.normal(size=(n, count)))[0]
    vectors[:, 9] += 1e-9 * vectors[:, 6]
    vectors[:, 20] += 1e-3 * vectors[:, 19]
    values, residuals = np.geomspace(1e8, 1e-9, count), rng.random(count)
    strips = reference.strips(vectors.T).reshape(-1)
    residual, skew = np.empty(23), np.empty(23)
    measure(strips, n, count, values, residuals, residual, skew)
    expected_residual, expected_skew = reference.measures(vectors, values, residuals)
    np.testing.assert_array_equal(residual, expected_residual[:23])
    np.testing.assert_allclose(skew, expected_skew[:23], rtol=1e-6, atol=1e-10)
    assert skew[9] == pytest.approx(1e-9 * np.sqrt(values[6]), rel=1e-3)
    assert skew[20] == skew[9]  # lambda_19 is noise, so A leaves nothing of that pair


def test_measures_of_broken_vectors_are_nan() -> None:
    vectors = np.eye(70)[:, :16]
    vectors[3, 5] = np.nan
    residual, skew = np.empty(16), np.empty(16)
    residuals = np.where(np.arange(16) == 9, np.nan, 0.0)
    measure(reference.strips(vectors.T).reshape(-1), 70, 16, np.full(16, 9.0), residuals, residual, skew)
    np.testing.assert_array_equal(np.isnan(residual), np.arange(16) >= 9)
    np.testing.assert_array_equal(np.isnan(skew), np.arange(16) >= 5)
