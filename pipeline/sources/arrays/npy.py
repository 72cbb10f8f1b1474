"""Reads the headers of .npy files, and small arrays. Nothing is unpickled.

Source: ``numpy.lib.format``, formats 1.0 to 3.0.
"""

import ast
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer

_MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # bytes of a header, as in numpy
_LARGEST = 1 << 62
_SAFE = "it holds Python objects (pickles), which are never opened: save it as uint8 (images) or int64 (labels)"


@dataclass(frozen=True)
class Array:
    """An array in a file.

    Attributes:
        path: of the file.
        name: of the array in messages.
        offset: of its first value in the file.
        dtype: of its values, such as ``|u1``.
        shape: its shape.
    """

    path: Path
    name: str
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def values(self) -> np.ndarray:
        """Returns the whole array. Raises OSError."""
        dtype = np.dtype(self.dtype)
        count = int(np.prod(self.shape, dtype=object))
        with open(regular_descriptor(self.path), "rb") as file:
            raw = os.pread(file.fileno(), count * dtype.itemsize, self.offset)
        if len(raw) < count * dtype.itemsize:
            raise OSError(f"{self.path} is shorter than when it was opened")
        return np.frombuffer(raw, dtype).reshape(self.shape)


def open_array(path: Path, name: str, start: int = 0, size: int | None = None) -> Array:
    """Reads the header of an array.

    Args:
        name: for messages.
        start, size: the range of the .npy file in ``path``, in bytes. Default: the whole file.

    Raises:
        PipelineError: it cannot be read, is no array of numbers in C order, or is cut off.
    """
    try:
        with open(regular_descriptor(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size - start if size is None else size
            head = os.pread(file.fileno(), min(size, 12 + _LONGEST), start)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
    if fault := pointer(head):
        raise PipelineError(f"{path} is {fault}")
    if not head.startswith(_MAGIC):
        raise PipelineError(f"{name} is no .npy file: it does not begin like one")
    try:
        fields, length = _fields(head)
        dtype, shape, fortran = fields["descr"], fields["shape"], fields["fortran_order"]
        _check_types(dtype, shape, fortran)
    except (ValueError, LookupError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise PipelineError(f"{name}: its header is damaged") from None
    if not isinstance(dtype, str) or "O" in dtype:
        raise PipelineError(f"{name}: {_SAFE if 'O' in str(dtype) else 'it holds records, not numbers'}")
    if not re.fullmatch(r"[<>|=]?[?a-zA-Z][0-9]{0,2}", dtype):
        raise PipelineError(f"{name} holds values of type {dtype[:40]!r}, not numbers")
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise PipelineError(f"{name}: its header is damaged") from None
    count = 1
    for side in shape:
        count *= side
    expected = length + count * kind.itemsize
    if expected != size:
        state = "cut off or half-downloaded" if size < expected else "damaged"
        raise PipelineError(f"{name} is {state}: it has {size:,} bytes, its header says {expected:,}; get it again")
    if fortran and len(shape) > 1:
        raise PipelineError(f"{name} is in Fortran order: save numpy.ascontiguousarray of it")
    return Array(path, name, start + length, kind.str, shape)


def _fields(head: bytes) -> tuple[dict[str, Any], int]:
    """Returns the fields of a header, and its length in bytes. Raises ValueError and what ``ast.literal_eval`` raises."""
    width = {1: 2, 2: 4, 3: 4}[head[6]]
    length = int.from_bytes(head[8 : 8 + width], "little")
    text = head[8 + width : 8 + width + length]
    if length > _LONGEST or len(text) < length:
        raise ValueError
    digits = re.sub(r"(\d)L\b", r"\1", text.decode("utf-8" if head[6] == 3 else "latin1"))  # Python 2 wrote 10000L
    fields = ast.literal_eval(digits.strip())
    if not isinstance(fields, dict):
        raise ValueError
    return fields, 8 + width + length


def _check_types(dtype: object, shape: object, fortran: object) -> None:
    if not isinstance(dtype, str | list) or not isinstance(shape, tuple) or type(fortran) is not bool:
        raise ValueError
    if len(shape) > 32 or any(type(side) is not int or not 0 <= side < _LARGEST for side in shape):
        raise ValueError
