"""``eigen.leading`` against ``numpy.linalg.eigh``, and the laws of eigenvectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numerics import eigen, svd


def gram(side: int, seed: int = 0, planes: int = 2) -> np.ndarray:
    """Gram matrices of random grey levels: a first eigenvalue far above the others, as photographs have."""
    pixels = np.random.default_rng(seed).integers(0, 256, (planes, side, side)).astype(np.float64)
    product: np.ndarray = pixels.swapaxes(1, 2) @ pixels
    return product


@pytest.mark.parametrize("side", [2, 3, 63, 64, 65, 97, 224, 300])
def test_as_numpys(side: int) -> None:
    matrices = gram(side)
    values, vectors = np.linalg.eigh(matrices)
    found, columns = eigen.leading(matrices, side)
    scale = values[:, -1:]
    assert np.abs(found - values[:, ::-1]).max() <= 1e-13 * scale.max()
    same = np.abs(np.einsum("pij,pij->pj", columns, vectors[:, :, ::-1]))
    assert np.abs(same - 1).max() < 1e-9  # up to their sign; gaps of random matrices are wide enough for that


@settings(max_examples=30, deadline=None)
@given(side=st.integers(2, 150), count=st.integers(0, 150), seed=st.integers(0, 2**32 - 1))
def test_laws(side: int, count: int, seed: int) -> None:
    matrices = gram(side, seed)
    count = min(count, side)
    values, vectors = eigen.leading(matrices, count)
    wanted = vectors.shape[2]
    assert count <= wanted <= min(side, count + eigen.BLOCK - 1)
    scale = values[:, :1, None]
    assert (np.diff(values) <= 0).all()
    assert np.abs(matrices @ vectors - vectors * values[:, None, :wanted]).max(initial=0) <= 1e-12 * scale.max()
    skew = (vectors.swapaxes(1, 2) @ vectors - np.eye(wanted)) * np.sqrt(np.maximum(values, 1))[:, :wanted, None]
    assert np.abs(np.triu(skew)).max(initial=0) <= 2e-8


def test_degenerate_and_zero_matrices() -> None:
    matrices = np.stack([np.zeros((130, 130)), np.eye(130) * 7])
    values, vectors = eigen.leading(matrices, 130)
    np.testing.assert_array_equal(values, np.repeat([[0.0], [7.0]], 130, axis=1))
    np.testing.assert_allclose(
        vectors.swapaxes(1, 2) @ vectors, np.broadcast_to(np.eye(130), (2, 130, 130)), atol=1e-14
    )


def test_a_vectors_bits_depend_neither_on_the_count_nor_on_the_batch() -> None:
    matrices = gram(224, planes=3)
    values, vectors = eigen.leading(matrices, 224)
    for count in (1, 50, 64, 65, 128, 223):
        fewer_values, fewer = eigen.leading(matrices, count)
        np.testing.assert_array_equal(fewer_values, values)
        np.testing.assert_array_equal(fewer, vectors[:, :, : fewer.shape[2]])
    alone_values, alone = eigen.leading(matrices[1:2], 100)
    np.testing.assert_array_equal(alone_values, values[1:2])
    np.testing.assert_array_equal(alone, vectors[1:2, :, :128])


def test_without_convergence_the_svd_of_the_plane_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 120, 110), dtype=np.uint8)
    usual = svd.truncate(svd.decompose(pixels, 20), 20)
    monkeypatch.setattr("pipeline.numerics.eigen.lapack.dsterf", lambda diagonal, beside: (diagonal, 1))
    monkeypatch.setattr("pipeline.numerics.eigen.lapack.dstevd", lambda diagonal, beside: (diagonal, None, 1))
    with pytest.raises(np.linalg.LinAlgError):
        eigen.leading(gram(120), 20)
    np.testing.assert_array_equal(svd.truncate(svd.decompose(pixels, 20), 20).rounded, usual.rounded)
