"""Finds the sizes of a source's images, from their headers if the sizes differ."""

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

_HEAD = 1 << 16  # bytes; nearly every image has its size in them
_READERS = 16  # threads, which mostly wait for a disk or a server
_PART = 256
_ATTEMPTS = 3


@dataclass(frozen=True)
class Shapes:
    """The sizes of an output's images.

    Attributes:
        shape: (height, width) of every image in pixels; None if they differ.
        side: the largest of the images' smaller sides in pixels: the largest number of singular values.
        radius: the largest radius of a disc that does not contain all frequencies of every image; 0 if there is none.
    """

    shape: tuple[int, int] | None
    side: int
    radius: int

    @classmethod
    def of(cls, sizes: Collection[tuple[int, int]]) -> "Shapes":
        """Returns the shapes of images of these sizes, (height, width) in pixels, at least one."""
        shape = next(iter(sizes)) if len(sizes) == 1 else None
        corner = max(
            (height // 2) ** 2 + (width // 2) ** 2 for height, width in sizes
        )  # squared radius of the highest frequency
        return cls(shape, max(min(size) for size in sizes), math.isqrt(max(corner - 1, 0)))


def shapes_of(source: Source, index: SourceIndex, geometry: Geometry) -> Shapes:
    """Returns the sizes of a source's images after a geometry. Files are opened only if the geometry does not fix the size.

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
    """Returns the distinct (height, width) of all entries that have an image's header."""

    def read(part: tuple[SplitIndex, int]) -> set[tuple[int, int]]:
        split, start = part
        entries = (split.entry(i) for i in range(start, min(start + _PART, len(split))))
        return {size for entry in entries if (size := _size(source, entry))}

    parts = [(split, start) for split in index.splits.values() for start in range(0, len(split), _PART)]
    with ThreadPoolExecutor(1 if index.in_order else _READERS) as pool:
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
