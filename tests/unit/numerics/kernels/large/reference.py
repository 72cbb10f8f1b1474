"""Each step of ``pipeline.numerics.kernels.large`` in plain NumPy, for one plane, without blocks, lanes or tricks."""

from typing import NamedTuple

import numpy as np

TINY = 1e-280  # replaces a pivot that is zero


class Tridiagonal(NamedTuple):
    """G = Q T Q^T, with Q the product of the reflectors I - scale v v^T."""

    diagonal: np.ndarray
    beside: np.ndarray
    reflectors: np.ndarray
    scales: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        return np.diag(self.diagonal) + np.diag(self.beside, 1) + np.diag(self.beside, -1)

    def times_q(self, vectors: np.ndarray) -> np.ndarray:
        """Returns Q times the columns (n, m)."""
        for v, scale in zip(self.reflectors[::-1], self.scales[::-1], strict=True):
            vectors = vectors - scale * np.outer(v, v @ vectors)
        return vectors


def gram(plane: np.ndarray) -> np.ndarray:
    """Returns A^T A, or A A^T of a wide plane, int64 (n, n)."""
    levels = plane.astype(np.int64)
    product: np.ndarray = levels.T @ levels if plane.shape[1] <= plane.shape[0] else levels @ levels.T
    return product


def reduce_to_tridiagonal(matrix: np.ndarray) -> Tridiagonal:
    """Applies each Householder reflector to the whole matrix, one after the other (LAPACK's dsytd2)."""
    a = matrix.astype(np.float64)
    n = len(a)
    reflectors, scales = np.zeros((n - 2, n)), np.zeros(n - 2)
    for j in range(n - 2):
        v = reflectors[j]
        v[j + 1 :] = a[j, j + 1 :]
        if v[j + 2 :].any():
            beta = -np.copysign(np.linalg.norm(v), v[j + 1])
            scales[j] = (beta - v[j + 1]) / beta
            v[j + 2 :] /= v[j + 1] - beta
        v[j + 1] = 1.0
        a -= scales[j] * np.outer(v, v @ a)
        a -= scales[j] * np.outer(a @ v, v)
    return Tridiagonal(np.diag(a).copy(), np.diag(a, 1).copy(), reflectors, scales)


def twisted_vector(diagonal: np.ndarray, beside: np.ndarray, value: float) -> tuple[np.ndarray, float]:
    """Returns the unit eigenvector of one eigenvalue, by twisted factorisation, and |T z - lambda z|.

    Dhillon, "A new O(n^2) algorithm for the symmetric tridiagonal eigenvalue/eigenvector problem", PhD thesis, Berkeley,
    1997, section 3.1. A pivot that is zero is replaced by a number whose quotients do not overflow, as in LAPACK's dstebz.
    """
    n = len(diagonal)
    shifted = diagonal - value
    above, below = shifted.copy(), shifted.copy()  # pivots of the eliminations from the top and from the bottom
    for i in range(1, n):
        above[i - 1] = above[i - 1] or TINY
        above[i] -= beside[i - 1] ** 2 / above[i - 1]
    for i in range(n - 2, -1, -1):
        below[i + 1] = below[i + 1] or TINY
        below[i] -= beside[i] ** 2 / below[i + 1]
    joint = np.abs(above + below - shifted)
    row = int(np.argmin(joint))
    z = np.zeros(n)
    z[row] = 1.0
    for i in range(row - 1, -1, -1):
        z[i] = -beside[i] / above[i] * z[i + 1]
    for i in range(row + 1, n):
        z[i] = -beside[i - 1] / below[i] * z[i - 1]
    z /= np.linalg.norm(z)
    error = shifted * z
    error[1:] += beside * z[:-1]
    error[:-1] += beside * z[1:]
    return z, float(np.linalg.norm(error))


def measures(vectors: np.ndarray, values: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest residual, and the largest skew (``solved.Solved``), of the columns 0 to j, for every j."""
    n, count = vectors.shape
    skew = np.zeros(count)
    for j in range(count):
        for i in range(j):
            level = np.sqrt(max(values[i], 1.0))
            close = j - i <= 4 or values[i] - values[j] < 20 * 2.0**-52 / 1e-5 * values[0] * level
            if close and values[i] > n * 2.0**-52 * values[0]:
                skew[j] = max(skew[j], abs(vectors[:, i] @ vectors[:, j]) * level)
    return np.maximum.accumulate(residuals), np.maximum.accumulate(skew)


def strips(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix (r, c) in strips of eight columns, (c / 8, r, 8), with zeros after the last column."""
    rows, columns = matrix.shape
    wide = np.zeros((rows, -(-columns // 8) * 8))
    wide[:, :columns] = matrix
    return np.ascontiguousarray(wide.reshape(rows, -1, 8).transpose(1, 0, 2))


def cut(rows: np.ndarray, columns: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Returns A_k = rows (h, m) times columns (m, w), rint(A_k), its smallest distance to a tie, and how many are close."""
    exact = rows[:, :rank] @ columns[:rank]
    rounded = np.rint(exact)
    distance = 0.5 - np.abs(exact - rounded)
    return exact, rounded, float(distance.min()), int((distance < 1e-5).sum())
