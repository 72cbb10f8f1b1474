"""Checks eigenpairs that a GPU computed. A solver that reports success can still be wrong (docs/gpus.md)."""

from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray

EPS = float(np.finfo(np.float64).eps)
# Bound on |G v - lambda v|, in roundings of the largest eigenvalue; the number of rows where that is larger. LAPACK's eigh
# leaves up to 6 on photographs. Jacobi's method leaves up to 30 at 32 rows and 46 at 64, and its cuts are as accurate as
# LAPACK's (4.5e-9 against 5.6e-9 grey levels).
RESIDUAL = 64
# Bound on |sum of eigenvalues - trace|, in roundings per row: the trace is the energy of the plane (LAPACK: up to 8 in all).
ENERGY = 16
# Grey levels by which vectors that are not orthonormal may move a subpixel of a cut (LAPACK: up to 6e-11).
SKEW = 1e-8


def sound(gram: Array, values: Array, vectors: Array, xp: ModuleType) -> Array:
    """Returns which matrices have finite, ordered, matching and complete eigenpairs: bool (p,).

    Args:
        gram: float64 (p, n, n), symmetric, Gram matrices in squared grey levels.
        values: float64 (p, n), descending.
        vectors: float64 (p, n, m), of the m largest, as columns.
        xp: the array namespace of all three.
    """
    n, count = vectors.shape[1:]
    leading = values[:, :count]
    rounding = EPS * xp.abs(values[:, 0])
    residual = xp.abs(gram @ vectors - vectors * leading[:, None, :]).max(axis=(1, 2))
    levels = xp.sqrt(xp.maximum(leading, 1.0))
    skew = (xp.abs(vectors.swapaxes(1, 2) @ vectors - xp.eye(count)) * levels[:, :, None]).max(axis=(1, 2))
    energy = xp.abs(values.sum(axis=1) - xp.trace(gram, axis1=1, axis2=2))
    ordered = (values[:, :-1] >= values[:, 1:]).all(axis=1)
    # Comparisons with NaN are false, so NaN and infinite values fail as well.
    return ordered & (residual <= max(RESIDUAL, n) * rounding) & (skew <= SKEW) & (energy <= ENERGY * n * rounding)
