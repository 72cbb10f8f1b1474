"""Whether what a card calls eigenvectors are: a solver's own word is no proof (docs/gpus.md)."""

from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray

EPS = float(np.finfo(np.float64).eps)
# Roundings of the largest eigenvalue in |G v - lambda v|, or as many as there are rows: LAPACK's eigh leaves up to 6;
# Jacobi's method up to 30 at 32 rows and 46 at 64, for cuts that are as near to the true ones (docs/gpus.md).
RESIDUAL = 64
# The same for each row in the trace, which is the energy of the plane (LAPACK: up to 8 in all).
ENERGY = 16
# Grey levels by which vectors that are not orthonormal may move a subpixel of a cut (LAPACK: up to 6e-11).
SKEW = 1e-8


def sound(gram: Array, values: Array, vectors: Array, xp: ModuleType) -> Array:
    """bool (p,): the matrices whose eigenvalues and vectors are finite, belong together, and leave out no energy.

    Args:
        gram: float64 (p, n, n), symmetric, Gram matrices in squared grey levels.
        values: float64 (p, n), descending.
        vectors: float64 (p, n, m), as columns, of the m largest.
    """
    n, wanted = vectors.shape[1:]
    leading = values[:, :wanted]
    rounding = EPS * xp.abs(values[:, 0])
    residual = xp.abs(gram @ vectors - vectors * leading[:, None, :]).max(axis=(1, 2))
    levels = xp.sqrt(xp.maximum(leading, 1.0))
    skew = (xp.abs(vectors.swapaxes(1, 2) @ vectors - xp.eye(wanted)) * levels[:, :, None]).max(axis=(1, 2))
    energy = xp.abs(values.sum(axis=1) - xp.trace(gram, axis1=1, axis2=2))
    ordered = (values[:, :-1] >= values[:, 1:]).all(axis=1)
    # What is NaN or infinite is at most nothing, so that it fails as well.
    return ordered & (residual <= max(RESIDUAL, n) * rounding) & (skew <= SKEW) & (energy <= ENERGY * n * rounding)
