"""A worker's task for one shard, and the progress that it reports."""

import contextlib
import hashlib
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.formats.factors import Factors
from pipeline.numerics.geometry import Geometry
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant
from pipeline.planning import output_state
from pipeline.planning.plan import Plan, Shard, tar_name
from pipeline.planning.record import Record, Reject
from pipeline.sources.index import Entry, Source
from pipeline.storage.location import Location
from pipeline.storage.store import Store

STAGES = ("read", "decode", "svd", "encode", "write")


@dataclass(frozen=True)
class ShardTask:
    """Everything that a worker needs to build one shard.

    Attributes:
        geometry, shape, side: as in ``Content``.
        tars: the variants to build, each with the path of its tar in the output.
        all_tars: all variants of the output, likewise.
        factors: the factors of the output; None if it holds none.
        kept: the record of the variants that are already in place; None if there is none.
        run: the run that owns the output.
        deadly: entries that kill the process that decodes or cuts them: by index, the reason for their reject.
    """

    shard: Shard
    identity: str
    entries: Sequence[Entry]
    geometry: Geometry
    shape: tuple[int, int] | None
    side: int
    samples_per_shard: int
    tars: dict[Variant, str]
    all_tars: dict[Variant, str]
    factors: Factors | None
    kept: Record | None
    source: Source
    root: Location
    run: str
    deadly: Mapping[int, str] = field(default_factory=dict)

    @property
    def new_factors(self) -> Factors | None:
        """The factors to build; None if there are none, or the shard's are already in place."""
        return None if self.kept and self.kept.factors else self.factors

    def recipe(self, variants: tuple[Variant, ...]) -> Recipe:
        """Returns what to compute for these variants of the shard's images."""
        return Recipe(variants, self.side, self.new_factors.rank if self.new_factors else 0)


def shard_tasks(store: Store, source: Source, plan: Plan, recheck: bool, run: str) -> list[ShardTask]:
    """Returns a task for every shard that is not complete in the output."""
    records = output_state.survey(store, plan, recheck)
    return [
        shard_task(store, source, plan, shard, records.get(shard), run)
        for shard in plan.shards
        if not output_state.complete(plan, records.get(shard))
    ]


def shard_task(store: Store, source: Source, plan: Plan, shard: Shard, kept: Record | None, run: str) -> ShardTask:
    """Returns the task for what ``kept``, the record of a shard, lacks."""
    content = plan.content
    return ShardTask(
        shard=shard,
        identity=plan.identity(shard),
        entries=plan.entries(shard),
        geometry=content.geometry,
        shape=content.shape,
        side=content.side,
        samples_per_shard=content.samples_per_shard,
        tars={variant: tar_name(content, variant, shard) for variant in output_state.missing(plan, kept)},
        all_tars={variant: tar_name(content, variant, shard) for variant in content.variants},
        factors=content.factors,
        kept=kept,
        source=source,
        root=store.location,
        run=run,
    )


class Step(NamedTuple):
    """The present step of a worker: the stage, the entry (empty for a batch), and its start on the monotonic clock."""

    stage: str
    entry: str
    since: float


@dataclass
class Progress:
    """What a worker has done for one shard so far. The worker updates it after every batch.

    Attributes:
        seconds: time that each of ``STAGES`` has taken.
        images: number of samples that are written.
        pixels: number of pixels of these samples.
        converted: number of samples that were not 8-bit RGB, by the kind of their image.
        rejects: entries that could not be decoded.
        source: digest of the original bytes of all entries, as in ``Record``.
        repaired: number of planes whose eigenvectors from a GPU were wrong and were computed again.
        now: the stage that runs now.
        node: the host of the worker.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    images: int = 0
    pixels: int = 0
    converted: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    source: bytes = bytes(32)
    repaired: int = 0
    now: Step = field(default_factory=lambda: Step("start", "", time.monotonic()))
    node: str = field(default_factory=socket.gethostname)

    def take(self, content: bytes) -> None:
        """Adds an entry's original bytes to ``source``: the SHA-256 of the digest so far and the SHA-256 of the bytes."""
        self.source = hashlib.sha256(self.source + hashlib.sha256(content).digest()).digest()

    def at(self, entry: str) -> None:
        """Starts the present stage with an entry."""
        self.now = Step(self.now.stage, entry, time.monotonic())

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of the block to a stage."""
        self.now = Step(stage, "", time.monotonic())
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start
