"""How loops over arrays are compiled."""

from typing import Any

import numba


def compiled(function: Any, **options: Any) -> Any:
    """A function as numba compiles it, at its first call and, where there is a folder for that, once per machine."""
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that takes what has been compiled: each process does it for itself
        return numba.njit(**options)(function)
