"""Measures the decomposition on a GPU: the package's solvers, and candidates that may replace them one day.

The candidates (``jacobi``, ``tridiagonal``) are kernels of this project. They stay here until a GPU has measured one to be
faster than cuSOLVER. ``tests/bench/gpu`` runs them on a CPU, thread by thread.
"""
