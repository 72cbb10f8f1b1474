"""The parts that an output is verified in, and what is found of each."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.sources.index import Entry
from pipeline.verification.arrays.reference import Counts
from pipeline.verification.faults import Faults
from pipeline.verification.listings import Sample, key_of
from pipeline.verification.manifest.claims import ShardSet, Variant
from pipeline.verification.shards.moments import Moments


@dataclass(frozen=True)
class ShardWork:
    """What a worker needs to verify one shard.

    Attributes:
        indexes, labels: int64, of its output positions, as in a ``Listing``; None if that cannot be used: then only the
            files are verified.
        rejects: its output positions that have no sample.
        listed: whether the lists of samples and of rejects are the files that the manifest claims.
        recomputed: the output positions to recompute, with their entries in the source if there is one.
        unreadable: entries of the source that are rejects, and are tried again.
    """

    shard: ShardSet
    indexes: "array[int] | None"
    labels: "array[int] | None"
    rejects: frozenset[int]
    listed: bool
    recomputed: Mapping[int, Entry | None]
    unreadable: tuple[Entry, ...] = ()

    def samples(self) -> list[Sample] | None:
        """Returns the samples that the shard must hold; None if the list of samples cannot be used."""
        if self.indexes is None or self.labels is None:
            return None
        split, positions = self.shard.split, range(self.shard.start, self.shard.stop)
        every = zip(positions, self.indexes, self.labels, strict=True)
        return [Sample(at, key_of(split, number), label) for at, number, label in every if at not in self.rejects]


Part = ShardWork | list[str]  # a shard, or names of files that belong to no shard


def name_of(part: Part) -> str:
    """Returns how messages call a part."""
    if isinstance(part, ShardWork):
        return f"shard {part.shard.split}-{part.shard.number:06d}"
    return part[0] + (f" and {len(part) - 1} files more" if len(part) > 1 else "")


@dataclass
class Result:
    """The result of verifying a part, or the sum over parts.

    Attributes:
        bytes: total size of the files that have the size and SHA-256 that the manifest claims.
        samples: number of samples that the shard must hold.
        fitted: number of pairs of low and high images that were compared with the original image.
        paired: number of such pairs whose original is not known: they were compared with the pairs of other ranks only.
        recomputed: number of images that were recomputed.
        counts: of the recomputed images.
        moments: of the stored pixels, by variant and split.
    """

    faults: Faults = field(default_factory=Faults)
    bytes: int = 0
    samples: int = 0
    fitted: int = 0
    paired: int = 0
    recomputed: int = 0
    counts: Counts = field(default_factory=Counts)
    moments: dict[tuple[Variant, str], Moments] = field(default_factory=dict)

    def add(self, other: "Result") -> None:
        self.faults.extend(other.faults)
        self.bytes += other.bytes
        self.samples += other.samples
        self.fitted += other.fitted
        self.paired += other.paired
        self.recomputed += other.recomputed
        self.counts = self.counts.plus(other.counts)
        for place, moments in other.moments.items():
            self.moments[place] = self.moments[place].plus(moments) if place in self.moments else moments
