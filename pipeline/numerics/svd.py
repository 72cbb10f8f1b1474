"""Batched truncated SVD of image planes over an array namespace ``xp`` (NumPy, or CuPy on a GPU).

Route (per plane A, grey levels 0..255, float64 throughout): the Gram matrix of the smaller side is exact, because its
entries are integers below 2^53; its eigenvectors are A's singular vectors; and A_k = A V_k V_k^T (or U_k U_k^T A) needs
no division by a singular value. That is as right as LAPACK's SVD of A as long as sigma_k and sigma_{k+1} lie apart;
``truncate`` finds the planes where they do not, and takes those from float64 LAPACK itself.

Every plane and every rank is computed by BLAS calls of its own, so that its bits depend neither on the batch, nor on
which other ranks are asked for.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pipeline.numerics import eigen, rounding

Array = Any  # numpy.ndarray or cupy.ndarray

EPS = float(np.finfo(np.float64).eps)
# Estimate of the error of A_k, in grey levels, above which LAPACK recomputes the plane. The error met, on photographs and
# on images made to provoke it, was at most 1.1e-7 in what is kept: far within the contract's 1e-5 around a rounding tie.
MAX_ERROR = 1e-6
# The same for the factors, which are kept as float32: about what that costs.
FACTORS_ERROR = 1e-4
# Where sigma_{k+1} is below this, A_k is within it of the integer image itself and rounds to it, however A_k is had.
NEGLIGIBLE = 0.25
# Grey levels around a rounding tie: the contract's tie band, and what is a tie but for rounding errors. Such planes
# (drawings, mostly) are left to LAPACK, so that even an exact half falls to the side where the reference has it.
TIE = 1e-5
EXACT_TIE = 1e-9
# Sides from which on it pays to compute the wanted singular vectors alone.
LARGE = 96
# sigma_k - sigma_{k+1} <= GAP * sigma_1: A_k is not unique (the contract's definition of a degenerate plane).
GAP = 1e-9


class Decomposition(NamedTuple):
    """One batch of planes with the singular vectors of their smaller side.

    Attributes:
        planes: float64 (p, h, w), grey levels 0..255.
        values: float64 (p, n), singular values in grey levels, descending, n = min(h, w). Error at most
            sqrt(n eps) sigma_1 (8e-8 sigma_1 at n = 32); those that cannot be told from zero are zero.
        vectors: float64 (p, n, m), right singular vectors where w <= h, left ones otherwise, as columns in the order
            of ``values``: those that were asked for, or more.
        scaled: float64 (p, max(h, w), m), A V or A^T U: those of the other side, times their singular values.
        repaired: planes whose eigenvectors a card gave wrongly, and LAPACK then rightly.
    """

    planes: Array
    values: Array
    vectors: Array
    scaled: Array
    repaired: int = 0


class Truncation(NamedTuple):
    """Rank-k approximations of a batch of planes.

    Attributes:
        planes: float64 (p, h, w), 255 A_k of the paper's eq. 2, unclipped.
        rounded: int16 (p, h, w), rint(planes): whole grey levels, unclipped. They are at most 255 sqrt(min(h, w)) in size,
            which int16 holds up to ``geometry.MAX_SIDE``.
        ties: subpixels within 1e-5 grey levels of a rounding tie, where the contract allows another byte.
        degenerate: planes whose sigma_k - sigma_{k+1} <= 1e-9 sigma_1: their k-th singular vectors are not unique.
        deficient: planes of numerical rank <= k, whose A_k is the image itself (it is unique for these).
        recomputed: planes taken from LAPACK's SVD, because the Gram route could not be trusted with them.
    """

    planes: Array
    rounded: Array
    ties: int
    degenerate: int
    deficient: int
    recomputed: int

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """The last four."""
        return self.ties, self.degenerate, self.deficient, self.recomputed


def decompose(pixels: Array, count: int | None = None, xp: ModuleType = np) -> Decomposition:
    """Singular values and vectors of every plane (paper eq. 1).

    Args:
        pixels: uint8 (p, h, w).
        count: singular vectors that are wanted, which is the largest rank, or 0; None for all. The bits of one do not
            depend on it.
        xp: the array namespace that ``pixels`` belongs to.
    """
    pixels = xp.ascontiguousarray(pixels)
    planes = pixels.astype(xp.float64)
    _, height, width = planes.shape
    side = min(height, width)
    gram, repaired = _gram(pixels, planes, xp), 0
    try:
        eigenvalues, vectors, repaired = _eigh(gram, side if count is None else min(count, side), xp)
        noise = side * EPS * eigenvalues[:, :1]
        values = xp.sqrt(xp.where(eigenvalues > noise, eigenvalues, 0.0))
    except np.linalg.LinAlgError:  # eigh did not converge on one of them: LAPACK's SVD of A does
        left, values, right = xp.linalg.svd(planes, full_matrices=False)
        vectors = right.swapaxes(1, 2) if width <= height else left
    across = planes if width <= height else planes.swapaxes(1, 2)
    starts = range(0, max(vectors.shape[2], 1), eigen.BLOCK)  # one block at least, be it empty
    blocks = [across @ vectors[:, :, at : at + eigen.BLOCK] for at in starts]
    scaled = blocks[0] if len(blocks) == 1 else xp.concatenate(blocks, axis=2)
    return Decomposition(planes, values, vectors, scaled, repaired)


def _eigh(gram: Array, count: int, xp: ModuleType) -> tuple[Array, Array, int]:
    """Eigenvalues (p, n), descending, the vectors (p, n, m) of at least the ``count`` largest ones, and planes repaired."""
    if xp is not np:
        from pipeline.numerics.cuda import eigh

        return eigh.leading(gram, max(count, 1), xp)  # which are proved by their vectors
    if gram.shape[-1] >= LARGE:
        return *eigen.leading(gram, count), 0
    values, vectors = np.linalg.eigh(gram)
    return values[:, ::-1], np.ascontiguousarray(vectors[:, :, ::-1]), 0


def _gram(pixels: Array, planes: Array, xp: ModuleType) -> Array:
    """float64 (p, n, n): A^T A or A A^T, the smaller. Its sums of whole numbers are exact, in float32 below 2^24."""
    _, height, width = pixels.shape
    if 255**2 * max(height, width) < 2**24:
        planes = pixels.astype(xp.float32)
    transposed = planes.swapaxes(1, 2)
    return (transposed @ planes if width <= height else planes @ transposed).astype(xp.float64, copy=False)


def truncate(decomposed: Decomposition, rank: int, xp: ModuleType = np) -> Truncation:
    """Keep the ``rank`` largest singular values of every plane (paper eq. 2).

    Args:
        decomposed: what ``decompose`` gave.
        rank: 0 < rank < min(h, w).

    Raises:
        ValueError: a rank outside that range, or above the number of vectors.
    """
    planes, values, vectors, scaled, _ = decomposed
    _, height, width = planes.shape
    most = min(height - 1, width - 1, vectors.shape[2])
    if not 0 < rank <= most:
        raise ValueError(f"rank {rank} is not between 1 and {most}")
    kept, other = vectors[:, :, :rank], scaled[:, :, :rank]
    cut = other @ kept.swapaxes(1, 2) if width <= height else kept @ other.swapaxes(1, 2)

    first, last, following = values[:, 0], values[:, rank - 1], values[:, rank]
    degenerate = last - following <= GAP * first
    rounded, margin, near = rounding.round_planes(cut, TIE, xp)
    doubtful = _doubtful(first, last, following) | (margin < EXACT_TIE)
    recomputed = np.flatnonzero(to_host(doubtful))
    for plane in recomputed:
        exact, degenerate[plane] = _lapack(to_host(planes[plane]), rank)
        cut[plane] = xp.asarray(exact)
        one = slice(plane, plane + 1)
        rounded[one], _, near[one] = rounding.round_planes(cut[one], TIE, xp)
    counts = xp.stack([near.sum(), degenerate.sum(), (following == 0).sum()])
    ties, unclear, complete = to_host(counts).tolist()  # a card is waited for once
    return Truncation(cut, rounded, ties, unclear, complete, len(recomputed))


def untouched(decomposed: Decomposition, xp: ModuleType = np) -> Truncation:
    """What ``truncate`` would give at a rank of min(h, w) or more: the planes themselves."""
    planes = decomposed.planes
    return Truncation(planes, planes.astype(xp.int16), 0, 0, len(planes), 0)


def factors(decomposed: Decomposition, rank: int, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """The ``rank`` largest singular triplets of every plane, of the image in [0, 1] (paper eq. 1).

    Where a cut at some rank could be moved by ``FACTORS_ERROR`` or more, they are LAPACK's.

    Args:
        rank: 0 < rank <= min(h, w).

    Returns:
        U float64 (p, h, rank), S (p, rank) descending, and V (p, w, rank), with A_k = U_k diag(S_k) V_k^T for k up to
        ``rank``. Where a singular value is zero, so is its column on the larger side.
    """
    planes, values, vectors, scaled, _ = decomposed
    kept, sigma = vectors[:, :, :rank], values[:, :rank]
    wide = planes.shape[2] > planes.shape[1]
    other = scaled[:, :, :rank] / xp.where(sigma > 0, sigma, 1.0)[:, None, :]
    other *= (sigma > 0)[:, None, :]
    left, right = (kept.copy(), other) if wide else (other, kept.copy())
    sigma = sigma.copy()
    following = xp.concatenate([values, xp.zeros_like(values[:, :1])], axis=1)[:, 1 : rank + 1]
    error = _error(values[:, :1], values[:, :rank], following) > FACTORS_ERROR
    doubtful = (error & (following > NEGLIGIBLE)).any(axis=1)
    for plane in np.flatnonzero(to_host(doubtful)):
        u, s, v = np.linalg.svd(to_host(planes[plane]), full_matrices=False)
        left[plane], sigma[plane], right[plane] = (xp.asarray(part) for part in (u[:, :rank], s[:rank], v[:rank].T))
    return left, sigma / 255, right


def _doubtful(first: Array, last: Array, following: Array) -> Array:
    """bool (p,): planes where the eigenvectors' error, eps sigma_1^2 / (sigma_k^2 - sigma_{k+1}^2), could move A_k by
    MAX_ERROR or more while rounding does not hide it. (The strict bound has a factor n more; see docs/numerics.md.)"""
    return (_error(first, last, following) > MAX_ERROR) & (following > NEGLIGIBLE)


def _error(first: Array, last: Array, following: Array) -> Array:
    """Estimate of the error of A_k in grey levels; infinite (or NaN, for zeros) where sigma_k = sigma_{k+1}."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return EPS * first**2 * last / (last**2 - following**2)


def _lapack(plane: np.ndarray, rank: int) -> tuple[np.ndarray, bool]:
    """A_k of one float64 (h, w) plane by LAPACK's SVD, and whether it is degenerate."""
    left, values, right = np.linalg.svd(plane, full_matrices=False)
    cut = (left[:, :rank] * values[:rank]) @ right[:rank]
    return cut, bool(values[rank - 1] - values[rank] <= GAP * values[0])


def to_host(array: Array) -> np.ndarray:
    """An array in the host's memory."""
    on_host: np.ndarray = array.get() if hasattr(array, "get") else array
    return on_host
