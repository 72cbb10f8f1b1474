"""The eigensolver for large matrices: compared with ``numpy.linalg.eigh``, and by the laws of eigenvectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import lapack

from pipeline.numerics import eigen, svd


def gram(side: int, seed: int = 0, planes: int = 2) -> np.ndarray:
    """Returns Gram matrices of random grey levels. Like those of photographs, they have one dominant eigenvalue."""
    pixels = np.random.default_rng(seed).integers(0, 256, (planes, side, side)).astype(np.float64)
    product: np.ndarray = pixels.swapaxes(1, 2) @ pixels
    return product


@pytest.mark.parametrize("side", [2, 3, 63, 64, 65, 97, 224, 300])
def test_pairs_are_those_of_numpy(side: int) -> None:
    matrices = gram(side)
    values, vectors = np.linalg.eigh(matrices)
    pairs = eigen.leading_of_large(matrices, side)
    assert np.abs(pairs.values - values[:, ::-1]).max() <= 1e-13 * values.max()
    products = np.abs(np.einsum("pij,pij->pj", pairs.vectors, vectors[:, :, ::-1]))
    assert np.abs(products - 1).max() < 1e-9  # equal up to the sign; random matrices have large enough gaps for that


@settings(max_examples=30, deadline=None)
@given(side=st.integers(2, 150), count=st.integers(0, 150), seed=st.integers(0, 2**32 - 1))
def test_laws(side: int, count: int, seed: int) -> None:
    matrices = gram(side, seed)
    count = min(count, side)
    values, vectors, _ = eigen.leading_of_large(matrices, count)
    columns = vectors.shape[2]
    assert count <= columns <= min(side, count + eigen.BLOCK - 1)
    scale = values[:, :1, None]
    assert (np.diff(values) <= 0).all()
    assert np.abs(matrices @ vectors - vectors * values[:, None, :columns]).max(initial=0) <= 1e-12 * scale.max()
    skew = (vectors.swapaxes(1, 2) @ vectors - np.eye(columns)) * np.sqrt(np.maximum(values, 1))[:, :columns, None]
    assert np.abs(np.triu(skew)).max(initial=0) <= 2e-8


def test_close_eigenvalues_go_to_divide_and_conquer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted vectors of equal eigenvalues are not orthogonal. The skew must show that."""
    calls = []
    real = lapack.dstevd

    def counted(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        calls.append(len(arrays))
        result: tuple[np.ndarray, np.ndarray, int] = real(*arrays)
        return result

    monkeypatch.setattr(lapack, "dstevd", counted)
    eigen.leading_of_large(gram(100), 100)
    assert not calls
    eigen.leading_of_large(np.kron(np.eye(5), gram(20, planes=1)), 100)
    assert calls


def test_degenerate_and_zero_matrices() -> None:
    matrices = np.stack([np.zeros((130, 130)), np.eye(130) * 7])
    values, vectors, _ = eigen.leading_of_large(matrices, 130)
    np.testing.assert_array_equal(values, np.repeat([[0.0], [7.0]], 130, axis=1))
    np.testing.assert_allclose(
        vectors.swapaxes(1, 2) @ vectors, np.broadcast_to(np.eye(130), (2, 130, 130)), atol=1e-14
    )


def test_the_bits_of_a_vector_depend_neither_on_the_count_nor_on_the_batch() -> None:
    matrices = gram(224, planes=3)
    values, vectors, _ = eigen.leading_of_large(matrices, 224)
    for count in (1, 50, 64, 65, 128, 223):
        fewer_values, fewer, _ = eigen.leading_of_large(matrices, count)
        np.testing.assert_array_equal(fewer_values, values)
        np.testing.assert_array_equal(fewer, vectors[:, :, : fewer.shape[2]])
    alone_values, alone, _ = eigen.leading_of_large(matrices[1:2], 100)
    np.testing.assert_array_equal(alone_values, values[1:2])
    np.testing.assert_array_equal(alone, vectors[1:2, :, :128])


def test_without_convergence_lapack_computes_the_svd_of_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 120, 110), dtype=np.uint8)
    usual = svd.truncate(svd.decompose(pixels, 20), 20)
    monkeypatch.setattr("pipeline.numerics.eigen.lapack.dsterf", lambda diagonal, beside: (diagonal, 1))
    monkeypatch.setattr("pipeline.numerics.eigen.lapack.dstevd", lambda diagonal, beside: (diagonal, None, 1))
    with pytest.raises(np.linalg.LinAlgError):
        eigen.leading_of_large(gram(120), 20)
    np.testing.assert_array_equal(svd.truncate(svd.decompose(pixels, 20), 20).rounded, usual.rounded)
