"""libdeflate, as the package ``deflate`` brings it, for compiled loops to call: calls from Python take a sixth of the time
that small images take to be read.

Where the package does not show these functions, ``FOUND`` is false, and all is proven the slow way.
"""

import ctypes
import functools
from typing import Any

import deflate._deflate
import numba.experimental.function_type  # noqa: F401  # makes numba take what follows for functions
from numba import types

_SIZE, _POINTER = types.uintp, types.uintp
_NAMES = ("libdeflate_alloc_decompressor", "libdeflate_zlib_decompress", "libdeflate_crc32", "libdeflate_adler32")
_LIBRARY = ctypes.CDLL(deflate._deflate.__file__)

FOUND = all(hasattr(_LIBRARY, name) for name in _NAMES)


class _Function(types.WrapperAddressProtocol):
    """A function of the library, which a compiled one takes as an argument."""

    def __init__(self, name: str, signature: Any) -> None:
        self._signature = signature
        self._address = ctypes.cast(getattr(_LIBRARY, name), ctypes.c_void_p).value or 0 if FOUND else 0

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        return self._signature


# 0 where a zlib stream (RFC 1950) unpacks to just that many bytes: decompressor, input, bytes, output, bytes, nothing.
UNPACK = _Function("libdeflate_zlib_decompress", types.intc(_POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER))
# The checksums of what came before (0 and 1 at first), and of some more bytes.
CRC32 = _Function("libdeflate_crc32", types.uint32(types.uint32, _POINTER, _SIZE))
ADLER32 = _Function("libdeflate_adler32", types.uint32(types.uint32, _POINTER, _SIZE))


@functools.cache
def decompressor() -> int:
    """The address of this process's decompressor, which only one thread may use at a time."""
    allocate = _LIBRARY.libdeflate_alloc_decompressor
    allocate.restype = ctypes.c_void_p
    address: int | None = allocate()
    if address is None:
        raise MemoryError
    return address
