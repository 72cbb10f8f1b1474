"""The plan of an output: the entry at each output position, and the positions of each shard."""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.numerics.variants import Variant
from pipeline.planning.output_spec import Content
from pipeline.sources.index import Entries, SourceIndex, SplitIndex


@dataclass(frozen=True)
class Shard:
    """A fixed range of output positions of one split, from ``start`` to ``stop`` (excluded)."""

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class Plan:
    """All shards of an output.

    Attributes:
        positions: by split, int64 (n,): the entry's index in the source, by output position. n is at most the limit.
        shards: in the order in which they are built.
    """

    content: Content
    index: SourceIndex
    positions: dict[str, np.ndarray]
    shards: tuple[Shard, ...]

    @functools.cached_property
    def _fixed(self) -> dict[str, Any]:
        return {name: value for name, value in self.content.fixed().items() if name != "source fingerprint"}

    def entries(self, shard: Shard) -> Entries:
        """Returns the source's entries of a shard, by output position."""
        return Entries(self.index.splits[shard.split], self.positions[shard.split][shard.start : shard.stop])

    def identity(self, shard: Shard) -> str:
        """Returns the SHA-256 of everything that the shard's bytes depend on: no paths, workers or devices."""
        own = self.entries(shard).digest()  # a change of another shard's entries does not matter
        parts = [self._fixed, shard.split, shard.start, shard.stop, self.index.classes, self.index.checksums, own]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_plan(content: Content, index: SourceIndex) -> Plan:
    """Returns the plan for an output's content."""
    positions, shards = {}, []
    for split in content.splits:
        order = _order(index.splits[split], content)[: content.limit]
        positions[split] = order
        for number, start in enumerate(range(0, len(order), content.samples_per_shard)):
            shards.append(Shard(split, number, start, min(start + content.samples_per_shard, len(order))))
    return Plan(content, index, positions, tuple(shards))


def _order(split: SplitIndex, content: Content) -> np.ndarray:
    """Returns int64 (n,): the indices of a split's entries, in the output's order."""
    if content.order == "source":
        return np.arange(len(split))
    prefix = f"{content.seed}/".encode()
    digests = [hashlib.sha256(prefix + os.fsencode(name)).digest() for name in split.names]
    return np.array(sorted(range(len(split)), key=digests.__getitem__), dtype=np.int64)


def folder(content: Content, variant: Variant) -> str:
    """Returns the name of a variant's folder in the output."""
    return f"{content.name}-{variant.name}"


def tar_name(content: Content, variant: Variant, shard: Shard) -> str:
    """Returns the path of a shard's tar, relative to the output's root."""
    directory = folder(content, variant)
    return f"{directory}/{directory}-{shard.name}.tar"
