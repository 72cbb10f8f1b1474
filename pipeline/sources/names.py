"""Many short texts in little memory: the names of a million images take a million string objects otherwise."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

_CHUNK = 1 << 16  # names that are iterated over at once
_SIMPLE = bytes({0, *range(32, 127)} - {ord('"'), ord("\\")})


class Names(Sequence[str]):
    """Texts, stored as one byte string with NUL between them. A text costs its bytes and 8 more; as ``str`` it costs 80.

    Args:
        joined: the texts in UTF-8 (``os.fsencode``), with NUL between them.
        ends: int64 (n,), the position after each text. Default: the positions of the NULs.
    """

    def __init__(self, joined: bytes = b"", ends: np.ndarray | None = None) -> None:
        if ends is None and joined:
            nul = np.flatnonzero(np.frombuffer(joined, np.uint8) == 0)
            ends = np.append(nul, len(joined))
        self.joined = joined
        self._ends = np.zeros(0, np.int64) if ends is None else ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Names":
        """Returns the texts of any iterable, which may hold NUL and empty texts."""
        if isinstance(texts, Names):
            return texts
        encoded = [os.fsencode(text) for text in texts]
        ends = np.cumsum(np.array([len(text) + 1 for text in encoded], np.int64)) - 1
        return cls(b"\0".join(encoded), ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        return os.fsdecode(self.joined[self._start(place) : self._ends[place]])

    def __iter__(self) -> Iterator[str]:
        return map(os.fsdecode, self.encoded())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def encoded(self) -> Iterator[bytes]:
        """Yields the texts as bytes."""
        joined = self.joined
        for first in range(0, len(self), _CHUNK):  # so that the positions are few Python integers at any time
            start = self._start(first)
            for end in self._ends[first : first + _CHUNK].tolist():
                yield joined[start:end]
                start = end + 1

    def take(self, places: np.ndarray) -> "Names":
        """Returns the texts at some places, int64 (n,), in that order."""
        ends = self._ends[places]
        starts = np.where(places > 0, self._ends[places - 1] + 1, 0)
        joined = self.joined
        parts = [joined[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return Names(b"\0".join(parts), np.cumsum(ends - starts + 1) - 1)

    def simple(self) -> bool:
        """Returns whether all texts are printable ASCII without quotes and backslashes, so that JSON needs no escapes."""
        return self.joined.count(0) == max(len(self) - 1, 0) and not self.joined.translate(None, _SIMPLE)

    def _start(self, place: int) -> int:
        return int(self._ends[place - 1]) + 1 if place else 0
