"""Compiled kernels that decompose planes and cut them at every rank: ``small`` up to 64 rows, ``large`` above.

Both work in vectors of eight numbers (``lanes``), move bytes into them and out of them (``lane_transfer``), and find the
eigenvalues of a tridiagonal matrix in the same way (``eigenvalues``).
"""
