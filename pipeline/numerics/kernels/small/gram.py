"""The Gram matrix G = A^T A of eight planes.

The entries are whole numbers below 255^2 * 15,000 < 2^53, so that float64 holds every partial sum exactly, in any order.
"""

from typing import Any

from pipeline.numerics.jit import step
from pipeline.numerics.kernels.lanes import LANES, fma, load, splat, store

CHUNK = 8  # rows of A that are read together; with 32 columns they fill half of a first-level cache


@step
def add_gram(strip: Any, rows: int, n: int, gram: Any) -> None:
    """Adds the products of a strip to the upper triangle of G.

    Blocks of 2 x 2 entries fit the sixteen registers of AVX2. At an odd n the last column is its own partner.

    Args:
        strip: (rows, n) vectors of grey levels.
        rows: number of rows.
        n: number of columns.
        gram: (n, n) vectors; row i receives the entries j >= i.
    """
    for start in range(0, rows, CHUNK):
        end = min(start + CHUNK, rows)
        for i in range(0, n, 2):
            i1 = min(i + 1, n - 1)
            for j in range(i, n, 2):
                j1 = min(j + 1, n - 1)
                to, to1 = i * n, i1 * n
                s00, s01 = load(gram, (to + j) * LANES), load(gram, (to + j1) * LANES)
                s10, s11 = load(gram, (to1 + j) * LANES), load(gram, (to1 + j1) * LANES)
                for row in range(start, end):
                    at = row * n
                    a0, a1 = load(strip, (at + i) * LANES), load(strip, (at + i1) * LANES)
                    b0, b1 = load(strip, (at + j) * LANES), load(strip, (at + j1) * LANES)
                    s00, s01 = fma(a0, b0, s00), fma(a0, b1, s01)
                    s10, s11 = fma(a1, b0, s10), fma(a1, b1, s11)
                store(gram, (to + j) * LANES, s00)
                store(gram, (to + j1) * LANES, s01)
                store(gram, (to1 + j) * LANES, s10)
                store(gram, (to1 + j1) * LANES, s11)


@step
def clear(array: Any, size: int) -> None:
    """Sets vectors to zero."""
    for i in range(size):
        store(array, i * LANES, splat(0.0))
