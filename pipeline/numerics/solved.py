"""What the compiled kernels of ``numerics.kernels.small`` and ``numerics.kernels.large`` compute of a batch of planes."""

from typing import NamedTuple, Protocol

import numpy as np

# Distances to a rounding tie, in grey levels: the contract's band, and a distance that only rounding errors leave. LAPACK
# recomputes planes with such an exact tie (mostly drawings), so that a half is rounded as in the reference.
TIE = 1e-5
EXACT_TIE = 1e-9


def far(band: float) -> float:
    """Returns the distance to a whole number beyond which the distance to a tie is below ``band``, in grey levels.

    The difference of 0.5 and ``band`` is rounded. It is corrected so that ``distance > far(band)`` means
    ``0.5 - distance < band``.
    """
    most = 0.5 - band
    return most - 2.0**-54 * (0.5 - most < band)


FAR = far(TIE)

# Constants of the eigenvectors.
EPS = 2.0**-52
NEIGHBOURS = 4  # vectors with which each vector is compared in any case: those of the next larger eigenvalues
# A vector is also compared with each whose eigenvalue is larger by less than CLOSE lambda_1 sigma_i. With residuals of at
# most ten roundings others move no pixel by more than 1e-5: |<z_i, z_j>| (lambda_i - lambda_j) <= |r_i| + |r_j|.
CLOSE = 20 * EPS / 1e-5
TINY = 1e-280  # replaces a pivot that is zero: b^2 / TINY must not overflow, and b is at most 1.5e13 (LAPACK: pivmin)
FAINT = 1e-100  # smaller entries become zero: their products would be denormal numbers, on which processors are slow


class Solved(NamedTuple):
    """Singular values, and cuts at several ranks, of p planes (h, w), with n = min(h, w).

    Each plane's numbers depend on this plane alone, and a rank's on the plane and this rank alone: not on the batch, nor on
    the other ranks, nor on ``count``. So measures of the error are given for each vector.

    Attributes:
        eigenvalues: float64 (p, n), of the Gram matrix of the smaller side, descending.
        residual: float64 (p, m): in column j the largest |T z - lambda z| of the eigenvectors 0..j of the tridiagonal
            matrix T. (That of Q z and G adds the rounding errors of the reduction to T, a few of lambda_1.) NaN where a
            value did not converge. m is the number of vectors that were computed, at least the
            largest rank and ``count``.
        skew: float64 (p, m): in column j the largest |<z_i, z_l>| sqrt(max(lambda_i, 1)) over neighbours and close
            eigenvalues i < l <= j, in grey levels: by how much vectors that are not orthogonal may move a pixel. Pairs where
            lambda_i cannot be distinguished from zero (at most n eps lambda_1) do not count.
        rounded: int16 (ranks, p, h, w), rint(255 A_k), halves to even, unclipped. Each rank is C-contiguous.
        planes: float64 (ranks, p, h, w), 255 A_k before rounding; None where not ``exact``.
        margins: float64 (ranks, p), smallest distance of a subpixel to a rounding tie.
        near: int64 (ranks, p), subpixels whose distance to a tie is below ``TIE``.
        vectors: float64 (p, n, count), leading eigenvectors of the Gram matrix as columns; None where ``count`` is 0.
    """

    eigenvalues: np.ndarray
    residual: np.ndarray
    skew: np.ndarray
    rounded: np.ndarray
    planes: np.ndarray | None
    margins: np.ndarray
    near: np.ndarray
    vectors: np.ndarray | None


class TruncatePlanes(Protocol):
    """Decomposes planes and cuts them at several ranks, on a CPU core.

    Args:
        pixels: uint8 (p, h, w), C-contiguous and writeable, p > 0.
        ranks: ascending, each below min(h, w); may be empty.
        count: number of eigenvectors that are returned, at most min(h, w); 0 for none.
        exact: whether the planes before rounding are returned.
    """

    def __call__(
        self, pixels: np.ndarray, ranks: tuple[int, ...], count: int = 0, exact: bool = False, /
    ) -> Solved: ...
