"""Imported for what it does: numba then knows of no BLAS.

Before its first compiled loop it would look for one, for products of matrices, which no loop of a proof has, and so load all
of ``scipy.linalg``: a tenth of a second.
"""

import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_BLAS = "scipy.linalg.cython_blas"

if _BLAS not in _modules:
    _modules[_BLAS] = None  # so importing it fails
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del _modules[_BLAS]
