"""Reads Python 2 pickles of byte strings, numbers and uint8 arrays, without running anything that they name."""

import io
import pickle
import pickletools
from typing import Any

from pipeline.errors import PipelineError

# Only GLOBAL, REDUCE and BUILD call, import or build anything, and they get only the stand-ins below.
# fmt: off
ALLOWED = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINUNICODE", "BINUNICODE",
    "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
})
# fmt: on
LARGEST_MEMO = 1_000_000  # the memo is a table as long as its largest number: 4 bytes of a pickle could require 32 GB
MOST_TUPLES = 1_000  # hashing a million nested tuples would overflow the C stack
# A tuple may not be fetched from the memo: hashing 40 tuples, each with the previous one twice, would not end.


class PickledDtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignores the byte order and fields, which uint8 does not have."""


class PickledArray:
    """Stands in for ``numpy.core.multiarray._reconstruct`` and the array that it creates.

    Attributes:
        shape, dtype, fortran, raw: as pickled, of any type. The caller checks them.
    """

    shape: object = None
    dtype: object = None
    fortran: object = None
    raw: object = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, self.shape, dtype, self.fortran, self.raw = state
        self.dtype = dtype.name if isinstance(dtype, PickledDtype) else None


class _ArrayType:
    """Stands in for ``numpy.ndarray``, which ``_reconstruct`` takes as an argument."""

    def __setstate__(self, state: object) -> None:
        """Ignores the state. Without this method, BUILD would write into the instance."""


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): PickledDtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which these files never need") from None


def load(content: bytes, name: str) -> dict[str, object]:
    """Returns the dictionary in a pickle. Byte strings stay bytes, arrays become ``PickledArray``, keys become text.

    Args:
        content: the pickle.
        name: the file's name in errors.

    Raises:
        PipelineError: it is damaged, cut off, or holds anything that such files do not need.
    """
    try:
        _check(content)
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(loaded, dict):
            raise pickle.UnpicklingError("it holds no dictionary")
        return {key.decode("ascii") if isinstance(key, bytes) else str(key): value for key, value in loaded.items()}
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PipelineError(f"{name} is not a pickle of a CIFAR batch, or it is damaged: {reason!r}") from None


def _check(content: bytes) -> None:
    """Checks the opcodes without running them."""
    tuples, before = 0, ""
    memo: dict[int, str] = {}  # the opcode that put the stored value on the stack
    for opcode, argument, position in pickletools.genops(content):
        name = opcode.name
        if name not in ALLOWED:
            raise pickle.UnpicklingError(f"opcode {name} at byte {position}")
        tuples += "TUPLE" in name
        if tuples > MOST_TUPLES:
            raise pickle.UnpicklingError(f"more than {MOST_TUPLES} tuples")
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if argument is None else int(argument)
            if number > LARGEST_MEMO:
                raise pickle.UnpicklingError(f"memo number {number} at byte {position}")
            memo[number] = before
        elif name in ("BINGET", "LONG_BINGET"):
            fetched = memo.get(int(argument or 0), "")
            if "TUPLE" in fetched or fetched == "BUILD":
                raise pickle.UnpicklingError(f"a tuple is used twice, at byte {position}")
            before = name
        elif name not in ("PROTO", "FRAME"):
            before = name
