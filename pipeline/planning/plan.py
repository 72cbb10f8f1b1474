"""The plan of an output: the entry at each output position, and the positions of each shard."""

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.numerics.variants import Variant
from pipeline.planning.output_spec import Content
from pipeline.sources.index import Entries, SourceIndex, SplitIndex
from pipeline.sources.names import Names

_CHUNK = 1 << 14  # digests that are in memory as objects at once


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
    def _identities(self) -> dict[Shard, str]:
        return {}

    @functools.cached_property
    def _common(self) -> tuple[str, str, str]:
        """What all identities hold, as JSON: the content, the classes, the checksums."""
        fixed = {name: value for name, value in self.content.fixed().items() if name != "source fingerprint"}
        parts = (fixed, self.index.classes, self.index.checksums)
        return tuple(json.dumps(part, sort_keys=True) for part in parts)  # type: ignore[return-value]

    def entries(self, shard: Shard) -> Entries:
        """Returns the source's entries of a shard, by output position."""
        return Entries(self.index.splits[shard.split], self.positions[shard.split][shard.start : shard.stop])

    def identity(self, shard: Shard) -> str:
        """Returns the SHA-256 of everything that the shard's bytes depend on: no paths, workers or devices."""
        if shard not in self._identities:  # a million names take seconds, and each command asks three times
            fixed, classes, checksums = self._common
            own = self.entries(shard).digest()  # a change of another shard's entries does not matter
            middle = f"{json.dumps(shard.split)}, {shard.start}, {shard.stop}"
            parts = f'[{fixed}, {middle}, {classes}, {checksums}, "{own}"]'
            self._identities[shard] = hashlib.sha256(parts.encode()).hexdigest()
        return self._identities[shard]


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
    return shuffled(split.names, content.seed)


def shuffled(names: Names, seed: int) -> np.ndarray:
    """Returns int64 (n,): the places of names in the order of SHA-256(``<seed>/<name>``)."""
    prefix = f"{seed}/".encode()

    def digests() -> Iterator[bytes]:
        return (hashlib.sha256(prefix + name).digest() for name in names.encoded())

    heads = _heads(digests(), len(names))
    order = np.argsort(heads, kind="stable")
    if np.diff(heads[order]).all():
        return order
    whole = list(digests())  # never seen: two of a million heads of 64 bits are equal once in 40 million datasets
    return np.array(sorted(range(len(names)), key=whole.__getitem__), np.int64)


def _heads(digests: Iterator[bytes], count: int) -> np.ndarray:
    """Returns uint64 (count,): the first 8 bytes of each digest as a number."""
    heads = np.empty(count, np.uint64)
    for start in range(0, count, _CHUNK):
        chunk = b"".join(digest[:8] for digest in itertools.islice(digests, _CHUNK))
        heads[start : start + _CHUNK] = np.frombuffer(chunk, ">u8")
    return heads


def folder(content: Content, variant: Variant) -> str:
    """Returns the name of a variant's folder in the output."""
    return f"{content.name}-{variant.name}"


def tar_name(content: Content, variant: Variant, shard: Shard) -> str:
    """Returns the path of a shard's tar, relative to the output's root."""
    directory = folder(content, variant)
    return f"{directory}/{directory}-{shard.name}.tar"
