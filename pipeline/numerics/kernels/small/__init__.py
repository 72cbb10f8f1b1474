"""Decomposes and cuts planes whose smaller side is at most 64 pixels, eight planes at a time in the lanes of vectors.

Let A be a plane of grey levels with its smaller side as columns: l x n, n <= l (a wide plane is treated as A^T). The
steps, one module each:

1. ``transfer``: the bytes of eight planes become lanes.
2. ``gram``: G = A^T A, exactly.
3. ``householder``: G = Q T Q^T with a tridiagonal T (LAPACK's ``dsytd2``), and later Q z (``dorm2r``).
4. ``numerics.kernels.eigenvalues``: all eigenvalues of T, by root-free QR (``dsterf``).
5. ``eigenvectors``: leading eigenvectors of T, by twisted factorisation, and two measures of their error.
6. ``cuts``: A V, and A_k = (A V_k) V_k^T of every rank, rounded, with the distance to rounding ties.

``solve`` runs them for a batch. All matrices of eight planes have the lanes as their last axis: entry (i, j) of a
matrix with n columns is the vector that starts at element 8 (i n + j). No operation mixes lanes, and branches depend
on a lane only where they change that lane alone. So the bits of a plane do not depend on its neighbours.

Eigenvectors are ``odd(n)`` vectors apart. A distance of 2 or 4 KB would put the same entry of all of them into one
or two sets of the first-level cache, and make ``cuts.cut`` half as slow again.
"""

from pipeline.numerics.jit import step

LARGEST = 64
"""Largest smaller side of a plane, in pixels."""


@step
def odd(n: int) -> int:
    """Returns n where it is odd, else n + 1."""
    return n | 1
