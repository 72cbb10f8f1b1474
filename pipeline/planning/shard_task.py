"""What a worker is given for one shard, and what it reports of it."""

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.formats.factors import Factors
from pipeline.numerics.batch import Recipe
from pipeline.numerics.geometry import Geometry
from pipeline.numerics.variants import Variant
from pipeline.planning.plan import Shard
from pipeline.planning.record import Record, Reject
from pipeline.sources.index import Entry, Source
from pipeline.storage.location import Location

STAGES = ("read", "decode", "svd", "encode", "write")


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs for one shard.

    Attributes:
        geometry, shape, side: as in ``Content``.
        tars: the variants to build, with the path of each one's tar in the output.
        every: all variants of the output, likewise.
        factors: of the output, if it keeps any.
        kept: the record of the variants that are in place already, if any.
        run: the run that owns the output.
        killers: entries that kill whoever decodes them, by index, with the reason that their rejects carry.
    """

    shard: Shard
    identity: str
    entries: Sequence[Entry]
    geometry: Geometry
    shape: tuple[int, int] | None
    side: int
    samples_per_shard: int
    tars: dict[Variant, str]
    every: dict[Variant, str]
    factors: Factors | None
    kept: Record | None
    source: Source
    root: Location
    run: str
    killers: Mapping[int, str] = field(default_factory=dict)

    @property
    def new_factors(self) -> Factors | None:
        """Those to build."""
        return None if self.kept and self.kept.factors else self.factors

    def recipe(self, wanted: tuple[Variant, ...]) -> Recipe:
        """What is to be computed of its images for these variants."""
        return Recipe(wanted, self.side, self.new_factors.rank if self.new_factors else 0)


class Step(NamedTuple):
    """What is being done now: the stage, the entry that it is done to (empty for a batch), and since when, by the
    monotonic clock."""

    stage: str
    entry: str
    since: float


@dataclass
class Progress:
    """What a shard in work reports: seconds by stage, and so far images, their pixels, those converted,
    rejects, a digest of the bytes that were read, planes whose eigenvectors a card gave wrongly, and the step that it is
    at."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    images: int = 0
    pixels: int = 0
    converted: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    source: bytes = bytes(32)
    repaired: int = 0
    now: Step = field(default_factory=lambda: Step("start", "", time.monotonic()))

    def take(self, content: bytes) -> None:
        """Note an entry's bytes in ``source``: SHA-256 of its value so far and of theirs."""
        self.source = hashlib.sha256(self.source + hashlib.sha256(content).digest()).digest()

    def at(self, entry: str) -> None:
        """The present stage begins with an entry."""
        self.now = Step(self.now.stage, entry, time.monotonic())

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        self.now = Step(stage, "", time.monotonic())
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start
