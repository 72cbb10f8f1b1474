"""Decomposes and cuts batches of planes on a CPU core: by compiled kernels, and by LAPACK where these fail.

``small`` (smaller sides up to 64 pixels) and ``large`` compute eigenvalues, eigenvectors and cuts, and measure their
error. Three kinds of planes are solved again, each at the ranks concerned:

- where the measured error exceeds ``RESIDUAL`` or ``SKEW`` (close eigenvalues, mostly of drawings): by LAPACK's
  eigenvectors of the Gram matrix, ``svd.decompose``;
- where the estimated error of any route through the Gram matrix is too large: by LAPACK's SVD of the plane, as in
  ``svd.truncate``;
- where a subpixel is an exact tie: also by LAPACK's SVD.
"""

import numpy as np

from pipeline.numerics import rounding, svd
from pipeline.numerics.kernels.large import solve as large
from pipeline.numerics.kernels.small import LARGEST
from pipeline.numerics.kernels.small import solve as small
from pipeline.numerics.solved import EPS, EXACT_TIE, TIE, Solved
from pipeline.numerics.svd import Solution, Truncation

# Bounds on the measures of ``Solved``: the residual relative to the largest eigenvalue (one rounding is usual), and the skew
# in grey levels.
RESIDUAL, SKEW = 10 * EPS, 1e-8


def solve(pixels: np.ndarray, ranks: tuple[int, ...], count: int = 0, exact: bool = False) -> Solution:
    """Decomposes planes and cuts them at the given ranks.

    Args:
        pixels: uint8 (p, h, w).
        ranks: ascending, each below min(h, w).
        count: rank of the factors, at most min(h, w); 0 for none.
        exact: whether the truncations contain the planes before rounding.

    Raises:
        ValueError: the ranks are not as described. (The kernels do not check them.)
    """
    if list(ranks) != sorted(set(ranks)) or not all(0 < rank < min(pixels.shape[1:]) for rank in ranks):
        raise ValueError(f"ranks {ranks} are not ascending, or not between 1 and {min(pixels.shape[1:]) - 1}")
    pixels = np.require(pixels, requirements=["C", "W"])
    truncate_planes = small.truncate_planes if min(pixels.shape[1:]) <= LARGEST else large.truncate_planes
    solved = truncate_planes(pixels, ranks, count, exact)
    values = svd.roots(solved.eigenvalues)
    for plane in np.flatnonzero(np.isnan(solved.eigenvalues[:, 0])):  # they did not converge
        values[plane] = svd.decompose(pixels[plane : plane + 1], 0).values[0]
    sound = (solved.residual <= RESIDUAL * np.abs(solved.eigenvalues[:, :1])) & (solved.skew <= SKEW)
    truncations = _truncations(pixels, ranks, solved, values, sound)
    factors = _factors(pixels, count, solved, values, sound) if count else None
    return Solution(values, truncations.__getitem__, factors, 0)


def _truncations(
    pixels: np.ndarray, ranks: tuple[int, ...], solved: Solved, values: np.ndarray, sound: np.ndarray
) -> dict[int, Truncation]:
    """Returns the truncations at each rank, after solving again what must be.

    Args:
        pixels, ranks: see ``solve``.
        solved: of the kernels; its arrays are updated.
        values: singular values.
        sound: bool (p, m), whether the vectors up to each column are accurate.
    """
    if not ranks:
        return {}
    columns = np.array(ranks)
    first, last, following = values[:, 0], values[:, columns - 1].T, values[:, columns].T
    degenerate, deficient = last - following <= svd.GAP * first, following == 0
    failed = ~sound[:, columns - 1].T
    whole = last == 0  # vectors of such values may all be the same, and X_k is X to rounding
    recomputed = (svd.doubtful(first, last, following, values.shape[1]) | (solved.margins < EXACT_TIE)) & ~failed
    near = solved.near
    for i, plane in np.argwhere(whole & ~recomputed & ~failed):
        solved.rounded[i, plane], near[i, plane] = pixels[plane], 0
        if solved.planes is not None:
            solved.planes[i, plane] = pixels[plane]
    for i, plane in np.argwhere(recomputed):
        cut, degenerate[i, plane] = svd.lapack_cut(pixels[plane].astype(np.float64), ranks[i])
        rounded, _, ties = rounding.round_planes(cut[None], TIE)
        solved.rounded[i, plane], near[i, plane] = rounded[0], ties[0]
        if solved.planes is not None:
            solved.planes[i, plane] = cut
    for plane in np.flatnonzero(failed.any(axis=0)):
        decomposed = svd.decompose(pixels[plane : plane + 1], ranks[-1])
        for i in np.flatnonzero(failed[:, plane]):
            again = svd.truncate(decomposed, ranks[i])
            solved.rounded[i, plane] = again.rounded[0]
            near[i, plane], degenerate[i, plane], deficient[i, plane], recomputed[i, plane] = again.counts
            if solved.planes is not None:
                solved.planes[i, plane] = again.planes[0]
    counts = np.stack([near.sum(axis=1), degenerate.sum(axis=1), deficient.sum(axis=1), recomputed.sum(axis=1)], axis=1)
    return {
        rank: Truncation(None if solved.planes is None else solved.planes[i], solved.rounded[i], *counts[i].tolist())
        for i, rank in enumerate(ranks)
    }


def _factors(
    pixels: np.ndarray, count: int, solved: Solved, values: np.ndarray, sound: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the factors of each plane. LAPACK's eigenvectors replace those that are not accurate.

    Args:
        pixels, count: see ``solve``.
        solved, values, sound: see ``_truncations``.
    """
    assert solved.vectors is not None
    vectors = solved.vectors
    for plane in np.flatnonzero(~sound[:, count - 1]):
        vectors[plane] = svd.decompose(pixels[plane : plane + 1], count).vectors[0, :, :count]
    planes = pixels.astype(np.float64)
    return svd.factors(svd.Decomposition(planes, values, vectors, svd.times(planes, vectors)), count)
