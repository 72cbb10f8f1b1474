"""Compiles loops over arrays with numba."""

from typing import Any

import numba


def compiled(function: Any, **options: Any) -> Any:
    """Returns the function as numba compiles it, at its first call.

    The machine code is kept on disk, so that a machine compiles each loop once.

    Args:
        function: a function of arrays and numbers.
        options: passed to ``numba.njit``.
    """
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder that it may write to: each process compiles for itself
        return numba.njit(**options)(function)
