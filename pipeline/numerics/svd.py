"""Truncated SVD of batches of image planes, on NumPy or on CuPy (``xp``).

Every plane A holds grey levels 0..255, and all arithmetic is in float64. The steps:

1. G = A^T A, or A A^T where that is smaller. G is exact, because its entries are integers below 2^53.
2. The eigenvectors of G are the singular vectors of A; its eigenvalues are the squares of the singular values (paper eq. 1).
3. A_k = A V_k V_k^T, or U_k U_k^T A (paper eq. 2). This needs no division by a singular value.

G is exact, but the eigensolver rounds relative to sigma_1^2, where LAPACK's SVD of A rounds relative to sigma_1. That is
accurate enough for the contract (docs/numerics.md) where sigma_k and sigma_{k+1} are well separated. ``truncate`` finds the
planes where they are not, and recomputes these with LAPACK (``numpy.linalg.svd``) from A itself.

Each plane and each rank goes through BLAS calls of its own. So its bits do not depend on the batch or on the other ranks.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics import eigen, rounding
from pipeline.numerics.solved import EPS, EXACT_TIE, TIE

Array = Any  # numpy.ndarray or cupy.ndarray

# Estimated error of A_k in grey levels above which LAPACK recomputes the plane. The estimate assumes vectors that are exact
# to one rounding of the largest eigenvalue. ``cpu`` accepts ten, which makes about the contract's 1e-5 around a tie.
MAX_ERROR = 1e-6
# The same for the factors. They are stored as float32, which costs about as much.
FACTORS_ERROR = 1e-4
# Where sigma_{k+1} is below this, the exact and the computed A_k differ from the integer image by less than a half, and both
# round to it. (Its own error is included: sigma_{k+1} is at most 0.36.)
NEGLIGIBLE = 0.25
# A_k is not unique where sigma_k - sigma_{k+1} <= GAP * sigma_1 (the contract's definition of a degenerate plane).
GAP = 1e-9


class Decomposition(NamedTuple):
    """A batch of planes with their singular values, and the leading singular vectors of their smaller side.

    Attributes:
        planes: float64 (p, h, w), grey levels 0..255.
        values: float64 (p, n), singular values in grey levels, descending, n = min(h, w). The error is at most
            sqrt(n eps) sigma_1 (8e-8 sigma_1 at n = 32). Values that cannot be distinguished from zero are zero.
        vectors: float64 (p, n, m), as columns in the order of ``values``: right singular vectors where w <= h, otherwise
            left ones. There are as many as requested, or more.
        scaled: float64 (p, max(h, w), m), A V or A^T U: the singular vectors of the larger side, times their values.
        repaired: planes that a GPU solved wrongly and LAPACK solved again.
    """

    planes: Array
    values: Array
    vectors: Array
    scaled: Array
    repaired: int = 0


class Truncation(NamedTuple):
    """Rank-k approximations of a batch of planes.

    Attributes:
        planes: float64 (p, h, w), 255 A_k of the paper's eq. 2, unclipped; None where it was not requested (``cpu.solve``).
        rounded: int16 (p, h, w), rint(planes), unclipped. Their size is at most 255 sqrt(min(h, w)), which fits int16 for
            sides up to ``geometry.MAX_SIDE``.
        ties: subpixels within 1e-5 grey levels of a rounding tie, where the contract allows another byte.
        degenerate: planes with sigma_k - sigma_{k+1} <= 1e-9 sigma_1, whose k-th singular vectors are not unique.
        deficient: planes of numerical rank <= k. Their A_k is the image itself, which is unique.
        recomputed: planes that LAPACK's SVD recomputed, because the error of the Gram route could be too large.
    """

    planes: Array
    rounded: Array
    ties: int
    degenerate: int
    deficient: int
    recomputed: int

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """(ties, degenerate, deficient, recomputed)."""
        return self.ties, self.degenerate, self.deficient, self.recomputed


class Solution(NamedTuple):
    """The results of a batch of planes, from this module or from ``cpu``.

    Attributes:
        values: float64 (p, n), see ``Decomposition``.
        truncated: returns the truncations at a rank, which must be one of those requested.
        factors: the result of ``factors`` at the requested rank, or None.
        repaired: see ``Decomposition``.
    """

    values: Array
    truncated: Callable[[int], Truncation]
    factors: tuple[Array, Array, Array] | None
    repaired: int


def solve(
    pixels: Array, ranks: tuple[int, ...], count: int, xp: ModuleType = np, solver: eigen.Eigensolver = eigen.leading
) -> Solution:
    """Decomposes planes, for truncations at the given ranks, which are computed when they are asked for.

    Args:
        pixels: uint8 (p, h, w).
        ranks: each below min(h, w).
        count: rank of the factors, at most min(h, w); 0 for none.
        xp, solver: see ``decompose``.
    """
    decomposed = decompose(pixels, max([*ranks, count]), xp, solver)
    triplets = factors(decomposed, count, xp) if count else None
    return Solution(decomposed.values, partial(truncate, decomposed, xp=xp), triplets, decomposed.repaired)


def decompose(
    pixels: Array, count: int | None = None, xp: ModuleType = np, solver: eigen.Eigensolver = eigen.leading
) -> Decomposition:
    """Returns the singular values and leading singular vectors of every plane (paper eq. 1).

    Args:
        pixels: uint8 (p, h, w).
        count: number of singular vectors that are needed, which is the largest rank, or 0; None for all. The bits of a
            vector do not depend on it.
        xp: the array namespace of ``pixels``.
        solver: computes the eigenpairs of the Gram matrices, in ``xp``.
    """
    pixels = xp.ascontiguousarray(pixels)
    planes = pixels.astype(xp.float64)
    _, height, width = planes.shape
    side = min(height, width)
    try:
        pairs = solver(gram(pixels, planes, xp), side if count is None else min(count, side), xp)
        values, vectors, repaired = roots(pairs.values, xp), pairs.vectors, pairs.repaired
    except np.linalg.LinAlgError:  # the eigenvalues of a matrix did not converge: use LAPACK's SVD for the batch
        left, values, right = xp.linalg.svd(planes, full_matrices=False)
        vectors, repaired = right.swapaxes(1, 2) if width <= height else left, 0
    return Decomposition(planes, values, vectors, times(planes, vectors, xp), repaired)


def roots(eigenvalues: Array, xp: ModuleType = np) -> Array:
    """Returns the singular values of the eigenvalues (p, n) of Gram matrices, both descending.

    Eigenvalues have an error of about n eps lambda_1. Those below it cannot be distinguished from zero, and become zero.
    """
    noise = eigenvalues.shape[1] * EPS * eigenvalues[:, :1]
    return xp.sqrt(xp.where(eigenvalues > noise, eigenvalues, 0.0))


def times(planes: Array, vectors: Array, xp: ModuleType = np) -> Array:
    """Returns A V, or A^T U for wide planes, in blocks: the bits of a column do not depend on the number of columns."""
    _, height, width = planes.shape
    tall = planes if width <= height else planes.swapaxes(1, 2)
    starts = range(0, max(vectors.shape[2], 1), eigen.BLOCK)  # at least one block, which may be empty
    blocks = [tall @ vectors[:, :, start : start + eigen.BLOCK] for start in starts]
    return blocks[0] if len(blocks) == 1 else xp.concatenate(blocks, axis=2)


def gram(pixels: Array, planes: Array, xp: ModuleType = np) -> Array:
    """Returns the exact Gram matrices A^T A, or A A^T where that is smaller: float64 (p, n, n).

    Their entries are integers. Below 2^24 float32 represents them exactly too, and is faster.

    Args:
        pixels: uint8 (p, h, w).
        planes: the same as float64.
        xp: the array namespace of both.
    """
    _, height, width = pixels.shape
    exact = pixels.astype(xp.float32) if 255**2 * max(height, width) < 2**24 else planes
    transposed = exact.swapaxes(1, 2)
    return (transposed @ exact if width <= height else exact @ transposed).astype(xp.float64, copy=False)


def truncate(decomposed: Decomposition, rank: int, xp: ModuleType = np) -> Truncation:
    """Keeps the ``rank`` largest singular values of every plane (paper eq. 2).

    Args:
        decomposed: the result of ``decompose``.
        rank: 0 < rank < min(h, w).
        xp: the array namespace of ``decomposed``.

    Raises:
        ValueError: the rank is outside of that range, or larger than the number of vectors.
    """
    planes, values, vectors, scaled, _ = decomposed
    _, height, width = planes.shape
    most = min(height - 1, width - 1, vectors.shape[2])
    if not 0 < rank <= most:
        raise ValueError(f"rank {rank} is not between 1 and {most}")
    inner, outer = vectors[:, :, :rank], scaled[:, :, :rank]
    cut = outer @ inner.swapaxes(1, 2) if width <= height else inner @ outer.swapaxes(1, 2)

    first, last, following = values[:, 0], values[:, rank - 1], values[:, rank]
    degenerate = last - following <= GAP * first
    rounded, margin, near = rounding.round_planes(cut, TIE, xp)
    recompute = doubtful(first, last, following, values.shape[1]) | (margin < EXACT_TIE)
    recomputed = np.flatnonzero(to_host(recompute))
    for plane in recomputed:
        exact, degenerate[plane] = lapack_cut(to_host(planes[plane]), rank)
        cut[plane] = xp.asarray(exact)
        only = slice(plane, plane + 1)
        rounded[only], _, near[only] = rounding.round_planes(cut[only], TIE, xp)
    # One transfer from the GPU for all counts.
    counts = xp.stack([near.sum(), degenerate.sum(), (following == 0).sum()])
    ties, not_unique, deficient = to_host(counts).tolist()
    return Truncation(cut, rounded, ties, not_unique, deficient, len(recomputed))


def untouched(pixels: Array, xp: ModuleType = np) -> Truncation:
    """Returns uint8 (p, h, w) planes themselves, as what ``truncate`` would return at a rank of min(h, w) or more."""
    return Truncation(pixels.astype(xp.float64), pixels.astype(xp.int16), 0, 0, len(pixels), 0)


def factors(decomposed: Decomposition, rank: int, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """Returns the ``rank`` largest singular triplets of every plane, of the image in [0, 1] (paper eq. 1).

    LAPACK computes the triplets of a plane where the estimated error of a cut exceeds ``FACTORS_ERROR`` at any rank.

    Args:
        decomposed: the result of ``decompose``.
        rank: 0 < rank <= min(h, w).
        xp: the array namespace of ``decomposed``.

    Returns:
        U float64 (p, h, rank), S (p, rank) descending, and V (p, w, rank), with A_k = U_k diag(S_k) V_k^T for k up to
        ``rank``. Where a singular value is zero, so is its column on the larger side.
    """
    planes, values, vectors, scaled, _ = decomposed
    inner, sigma = vectors[:, :, :rank], values[:, :rank]
    wide = planes.shape[2] > planes.shape[1]
    outer = scaled[:, :, :rank] / xp.where(sigma > 0, sigma, 1.0)[:, None, :]
    outer *= (sigma > 0)[:, None, :]
    left, right = (inner.copy(), outer) if wide else (outer, inner.copy())
    sigma = sigma.copy()
    following = xp.concatenate([values, xp.zeros_like(values[:, :1])], axis=1)[:, 1 : rank + 1]
    recompute = doubtful(values[:, :1], values[:, :rank], following, values.shape[1], FACTORS_ERROR).any(axis=1)
    for plane in np.flatnonzero(to_host(recompute)):
        u, s, v = np.linalg.svd(to_host(planes[plane]), full_matrices=False)
        left[plane], sigma[plane], right[plane] = (xp.asarray(part) for part in (u[:, :rank], s[:rank], v[:rank].T))
    return left, sigma / 255, right


def doubtful(first: Array, last: Array, following: Array, n: int, allowed: float = MAX_ERROR) -> Array:
    """Returns where the error of A_k may exceed ``allowed`` grey levels, and rounding does not hide it.

    The error of A_k is estimated as eps sigma_1^2 sigma_k / (sigma_k^2 - sigma_{k+1}^2): a first-order perturbation of the
    eigenvectors of G by its rounding errors (Davis and Kahan, 1970), times sigma_k. The strict bound has another factor n
    (docs/numerics.md). Where sigma_k = sigma_{k+1}, the estimate is infinite or NaN, and counts as too large.

    Args:
        first, last, following: sigma_1, sigma_k and sigma_{k+1}.
        n: the smaller side. Values up to sqrt(n eps) sigma_1 are zero here (``roots``), whatever they are.
        allowed: grey levels.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = EPS * first**2 * last / (last**2 - following**2)
    return ~(error <= allowed) & (np.maximum(following, np.sqrt(n * EPS) * first) > NEGLIGIBLE)


def lapack_cut(plane: np.ndarray, rank: int) -> tuple[np.ndarray, bool]:
    """Returns A_k of one float64 (h, w) plane by LAPACK's SVD (dgesdd), and whether it is degenerate."""
    left, values, right = np.linalg.svd(plane, full_matrices=False)
    cut = (left[:, :rank] * values[:rank]) @ right[:rank]
    return cut, bool(values[rank - 1] - values[rank] <= GAP * values[0])


def to_host(array: Array) -> np.ndarray:
    """Returns an array as a NumPy array, copied from the GPU where necessary."""
    on_host: np.ndarray = array.get() if hasattr(array, "get") else array
    return on_host
