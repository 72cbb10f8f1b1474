"""The plan of an output: which entry stands at which position, and which positions make a shard."""

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
    """A fixed range of output positions of one split: ``start`` to ``stop`` (not included)."""

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class Plan:
    """Every shard of an output, with the order of its splits.

    Attributes:
        positions: per split, int64 (n,): the entry's index in the source, by output position (limit applied).
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
        return Entries(self.index.splits[shard.split], self.positions[shard.split][shard.start : shard.stop])

    def identity(self, shard: Shard) -> str:
        """SHA-256 of everything that the shard's bytes depend on; no paths, workers or devices."""
        own = self.entries(shard).digest()  # its own entries: another shard's repair is not its own
        parts = [self._fixed, shard.split, shard.start, shard.stop, self.index.classes, self.index.checksums, own]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_plan(content: Content, index: SourceIndex) -> Plan:
    positions, shards = {}, []
    for split in content.splits:
        order = _order(index.splits[split], content)[: content.limit]
        positions[split] = order
        for number, start in enumerate(range(0, len(order), content.samples_per_shard)):
            shards.append(Shard(split, number, start, min(start + content.samples_per_shard, len(order))))
    return Plan(content, index, positions, tuple(shards))


def _order(split: SplitIndex, content: Content) -> np.ndarray:
    if content.order == "source":
        return np.arange(len(split))
    prefix = f"{content.seed}/".encode()
    digests = [hashlib.sha256(prefix + os.fsencode(name)).digest() for name in split.names]
    return np.array(sorted(range(len(split)), key=digests.__getitem__), dtype=np.int64)


def key(split: str, index: int) -> str:
    """A sample's key: unique in the output, the same in every variant, its number the place in the source's order."""
    return f"{split}-{index:08d}"


def folder(content: Content, variant: Variant) -> str:
    return f"{content.name}-{variant.name}"


def tar_name(content: Content, variant: Variant, shard: Shard) -> str:
    """Path of a shard in the output, relative to its root."""
    directory = folder(content, variant)
    return f"{directory}/{directory}-{shard.name}.tar"
