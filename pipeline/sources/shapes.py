"""How large the images of a source are, read from their headers where they differ."""

import contextlib
import math
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.errors import PipelineError, Undecodable
from pipeline.numerics.geometry import Geometry
from pipeline.sources.images import header_size
from pipeline.sources.index import Entry, Source, SourceIndex, SplitIndex

_HEAD = 1 << 16  # bytes in which nearly every image has said its size
_READERS = 16  # threads: a header costs a trip to the disk, or to a server
_PART = 256
_ATTEMPTS = 3


@dataclass(frozen=True)
class Shapes:
    """What an output holds.

    Attributes:
        shape: (height, width) of every image, pixels; None where they differ.
        side: the largest of the images' smaller sides, pixels: how many singular values a plane can have.
        radius: the largest radius of a disc of frequencies that does not hold all of some image's; 0 where every one does.
    """

    shape: tuple[int, int] | None
    side: int
    radius: int

    @classmethod
    def of(cls, sizes: Collection[tuple[int, int]]) -> "Shapes":
        """Of images of at least one (height, width)."""
        shape = next(iter(sizes)) if len(sizes) == 1 else None
        corner = max((height // 2) ** 2 + (width // 2) ** 2 for height, width in sizes)  # the last frequency, squared
        return cls(shape, max(min(size) for size in sizes), math.isqrt(max(corner - 1, 0)))


def shapes_of(source: Source, index: SourceIndex, geometry: Geometry) -> Shapes:
    """The sizes of a source's images after a geometry. Files are only opened where that does not follow from it.

    Raises:
        PipelineError: no file has an image's header.
        OSError: reading failed.
    """
    if geometry.crop:
        return Shapes.of([(geometry.crop, geometry.crop)])
    if index.shape:
        return Shapes.of([geometry.size(*index.shape)])
    distinct = {geometry.size(*size) for size in _distinct(source, index) if geometry.takes(*size)}
    if not distinct:
        first = next(split for split in index.splits.values() if len(split)).entry(0)
        count = sum(len(split) for split in index.splits.values())
        raise PipelineError(f"none of the source's {count:,} files is an image, the first is {first.name}")
    return Shapes.of(distinct)


def _distinct(source: Source, index: SourceIndex) -> set[tuple[int, int]]:
    """The distinct (height, width) of all entries that have an image's header."""

    def read(part: tuple[SplitIndex, int]) -> set[tuple[int, int]]:
        split, start = part
        entries = (split.entry(i) for i in range(start, min(start + _PART, len(split))))
        return {size for entry in entries if (size := _size(source, entry))}

    parts = [(split, start) for split in index.splits.values() for start in range(0, len(split), _PART)]
    with ThreadPoolExecutor(_READERS) as pool:
        return set().union(*pool.map(read, parts))


def _size(source: Source, entry: Entry) -> tuple[int, int] | None:
    for most in (_HEAD, entry.size):
        with contextlib.suppress(Undecodable):
            return header_size(_read(source, entry, most))
        if entry.size <= _HEAD:
            break
    return None


def _read(source: Source, entry: Entry, most: int) -> bytes:
    for tries in range(1, _ATTEMPTS):
        try:
            return source.read(entry, most)
        except OSError:
            time.sleep(tries)
    return source.read(entry, most)
