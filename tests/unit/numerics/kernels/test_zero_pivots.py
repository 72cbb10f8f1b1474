"""An eigenvalue may meet a pivot of exactly zero: that cuts no vector off, and the measured residual would notice it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.numerics import cpu
from pipeline.numerics.kernels.large.vectors import twisted_vectors
from pipeline.numerics.kernels.small import eigenvectors as small
from tests.unit.numerics.kernels.large import reference
from tests.unit.numerics.planes import cuts_by_lapack, meeting_zero_pivots


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("more", [0, 60])  # 7 and 67 columns: small and large planes
def test_drawings_whose_eigenvalues_meet_zero_pivots(more: int, wide: bool) -> None:
    """b^2 divided by the number that replaced the pivot was infinite: errors of up to 126 levels."""
    planes = meeting_zero_pivots(more)
    planes = np.ascontiguousarray(planes.swapaxes(1, 2)) if wide else planes
    found = cpu.solve(planes, (6,), 0, True).truncated(6).planes
    np.testing.assert_allclose(found, cuts_by_lapack(planes, 6), rtol=0, atol=1e-6)


@pytest.mark.parametrize("b", [1e-3, 1.0, 1.5e13])  # the largest that a Gram matrix of pixels may have
def test_the_vector_of_an_eigenvalue_of_zero_whose_first_pivots_are_zero(b: float) -> None:
    """T has b beside a diagonal of zeros. The vector is known: (1, 0, -1, 0, 1, ...)."""
    n = 9
    expected = np.array([1.0, 0.0, -1.0, 0.0] * 2 + [1.0]) / np.sqrt(5)
    diagonal, beside, value = np.zeros(n), np.full(n - 1, b), np.zeros(n)
    plain, residual = reference.twisted_vector(diagonal, beside, 0.0)
    np.testing.assert_allclose(plain * plain[0], expected * expected[0], atol=1e-15)
    assert residual < 1e-15 * b
    lanes = [np.repeat(part, 8) for part in (diagonal, np.append(beside, np.nan), value)]
    vectors, errors = np.empty(n * 8), np.empty(16)
    small.eigenvectors(*lanes[:2], n, lanes[2], 1, vectors, np.empty(n * 8), np.empty(n * 8), errors)
    for found in vectors.reshape(n, 8).T:
        np.testing.assert_allclose(found * found[0], expected * expected[0], atol=1e-15)
    assert (errors[:8] < 1e-15 * b).all()
    vectors, errors = np.empty(n * 8), np.empty(8)
    twisted_vectors(diagonal, np.append(beside, np.nan), np.zeros(n + 8), 8, vectors, errors, np.empty(2 * n * 8))
    for found in vectors.reshape(n, 8).T:
        np.testing.assert_allclose(found * found[0], expected * expected[0], atol=1e-15)
    assert (errors < 1e-15 * b).all()


FAILING = """
import numpy as np
from pipeline.numerics import solved
solved.TINY = 1e-300  # b^2 / TINY overflows
from pipeline.numerics import cpu
from pipeline.numerics.kernels.large import solve as large
from pipeline.numerics.kernels.small import solve as small
from tests.unit.numerics.planes import cuts_by_lapack, meeting_zero_pivots
for more, kernels in ((0, small), (60, large)):
    planes = meeting_zero_pivots(more)
    exact = cuts_by_lapack(planes, 6)
    print(np.abs(kernels.truncate_planes(planes, (6,), 0, True).planes[0] - exact).max() > 100)
    print(np.abs(cpu.solve(planes, (6,), 0, True).truncated(6).planes - exact).max() < 1e-6)
"""


@pytest.mark.full
def test_the_measured_residual_notices_vectors_that_were_cut_off(tmp_path: Path) -> None:
    """With the number that once replaced pivots the kernels are wrong, and LAPACK solves the planes in their place."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", FAILING], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True"] * 4
