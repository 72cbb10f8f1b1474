"""Files of a batch in one buffer, so that no step needs an object for each of them."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.numerics.jit import step


@step
def copy(source: Any, target: Any, at: Any) -> None:
    """Copies bytes to a place in an array. NumPy's assignment does the same, but takes seconds to compile.

    The loop runs over slices: with ``target[at + place]`` the compiler would copy byte by byte.
    """
    part = target[at : at + len(source)]
    for place in range(len(part)):
        part[place] = source[place]


@dataclass(frozen=True)
class PackedFiles:
    """Files that follow each other in an array.

    Attributes:
        data: uint8; what follows the last file has no meaning.
        stops: int64 (n,), where each file ends.
    """

    data: np.ndarray
    stops: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The size of each file, int64 (n,)."""
        return np.diff(self.stops, prepend=0)

    @classmethod
    def of(cls, files: Iterable[bytes]) -> "PackedFiles":
        """Returns files packed into one array."""
        contents = list(files)
        data = np.frombuffer(b"".join(contents), np.uint8)
        return cls(data, np.cumsum([len(content) for content in contents], dtype=np.int64))

    def split(self) -> list[bytes]:
        """Returns each file by itself."""
        view = self.data.data
        return [bytes(view[start:stop]) for start, stop in itertools.pairwise([0, *self.stops.tolist()])]
