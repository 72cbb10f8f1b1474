"""The parts that an output is proven in, and what is found of each."""

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
class Work:
    """One shard's proof, as it travels to a worker.

    Attributes:
        indexes, labels: int64, of its output positions, as a ``Listing`` has them; None where that cannot be used: only
            files are checked.
        rejects: its output positions that have no sample.
        listed: the samples file is the one that the manifest claims.
        recomputed: the output positions that are recomputed, with their entries in the source where it is at hand.
        unreadable: entries of the source that are rejects, and are tried.
    """

    shard: ShardSet
    indexes: "array[int] | None"
    labels: "array[int] | None"
    rejects: frozenset[int]
    listed: bool
    recomputed: Mapping[int, Entry | None]
    unreadable: tuple[Entry, ...] = ()

    def samples(self) -> list[Sample] | None:
        """What it must hold; None where that cannot be told."""
        if self.indexes is None or self.labels is None:
            return None
        split, positions = self.shard.split, range(self.shard.start, self.shard.stop)
        every = zip(positions, self.indexes, self.labels, strict=True)
        return [Sample(at, key_of(split, number), label) for at, number, label in every if at not in self.rejects]


Part = Work | list[str]  # a shard, or names of files that are no part of one


def name_of(part: Part) -> str:
    """In words."""
    if isinstance(part, Work):
        return f"shard {part.shard.split}-{part.shard.number:06d}"
    return part[0] + (f" and {len(part) - 1} files more" if len(part) > 1 else "")


@dataclass
class Result:
    """What was found of a shard.

    Attributes:
        bytes: of the files that are as claimed.
        samples: that it must hold.
        fitted, paired: pairs of low and high held against the image, and against the other ranks only.
        recomputed: images; ``counts`` is of these.
        moments: of every variant and split.
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
        for of, more in other.moments.items():
            self.moments[of] = self.moments[of].plus(more) if of in self.moments else more
