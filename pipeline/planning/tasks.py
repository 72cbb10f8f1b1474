"""The tasks that build what an output lacks, a shard each."""

from pipeline.planning import output_state
from pipeline.planning.plan import Plan, Shard, tar_name
from pipeline.planning.record import Record
from pipeline.planning.shard_task import ShardTask
from pipeline.sources.index import Source
from pipeline.storage.store import Store


def shard_tasks(store: Store, source: Source, plan: Plan, recheck: bool, run: str) -> list[ShardTask]:
    """A task for every shard of which something is missing."""
    found = output_state.survey(store, plan, recheck)
    return [
        shard_task(store, source, plan, shard, found.get(shard), run)
        for shard in plan.shards
        if not output_state.complete(plan, found.get(shard))
    ]


def shard_task(store: Store, source: Source, plan: Plan, shard: Shard, kept: Record | None, run: str) -> ShardTask:
    """The task for a shard of which ``kept`` is in place."""
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
        every={variant: tar_name(content, variant, shard) for variant in content.variants},
        factors=content.factors,
        kept=kept,
        source=source,
        root=store.location,
        run=run,
    )
