"""``--dry-run``: shows the plan of a build, with bytes and time measured on a few of its images. Writes nothing."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError, one_line
from pipeline.execution.device import Device
from pipeline.execution.gpus import choose
from pipeline.execution.run import plan_job
from pipeline.execution.stages import encode_batches
from pipeline.execution.worker_count import pixels_to_write, worker_count
from pipeline.formats.tar import BLOCK
from pipeline.liveness import duration
from pipeline.numerics.variants import Variant
from pipeline.planning import output_state
from pipeline.planning.job import Job
from pipeline.planning.plan import Plan, Shard
from pipeline.planning.record import Record
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.sources.index import Source
from pipeline.storage.store import open_store

_MEASURED = 64  # images


def describe(job: Job) -> str:
    """Returns the plan as text: what would be built, how large it is, and about how long it takes.

    Raises:
        PipelineError: as ``run.build`` does.
    """
    source, plan = plan_job(job)
    records = {} if job.overwrite else output_state.survey(open_store(job.out), plan, recheck=False)
    lines = [
        f"{one_line(job.out)}: {', '.join(variant.name for variant in plan.content.variants)}; order {plan.content.order}"
    ]
    for split, positions in plan.positions.items():
        shards = sum(shard.split == split for shard in plan.shards)
        lines.append(f"  {split}: {len(positions):,} images, {shards} shards per variant")
    lacking = {shard: output_state.missing(plan, records.get(shard)) for shard in plan.shards}
    work = {shard for shard in plan.shards if not output_state.complete(plan, records.get(shard))}
    images = sum(shard.stop - shard.start for shard in work)
    files = sum(len(variants) for variants in lacking.values())
    if not work:
        return "\n".join([*lines, "  everything is in place; nothing would be built"])
    sizes, seconds = _measure(source, plan, Device(job.device, job.gpus))
    size = sum(
        (shard.stop - shard.start) * sizes[variant] for shard, variants in lacking.items() for variant in variants
    )
    to_write = pixels_to_write(plan.content, ((shard.stop - shard.start, len(lacking[shard])) for shard in work))
    workers = worker_count(job, len(work), to_write)
    where = f"on {workers} worker{'s' * (workers != 1)}" if workers else "in one process, without Ray"
    lines.append(
        f"  to build: {files} of {len(plan.shards) * len(plan.content.variants)} shard files, about {size / 1e6:,.1f} MB"
    )
    free = open_store(job.out).free()
    if free is not None and size > free:
        lines.append(f"  warning: only {free / 1e6:,.1f} MB are free there")
    if plan.content.factors:
        lines.append(f"  factors: {_factors(plan, records)}")
    lines.append(
        f"  about {duration(images * seconds / max(workers, 1))} of work {where}, "
        f"measured on {min(_MEASURED, images)} of its images"
    )
    return "\n".join(lines)


def _factors(plan: Plan, records: Mapping[Shard, Record]) -> str:
    content = plan.content
    assert content.factors is not None and content.shape is not None
    arrays = content.factors.arrays(plan.shards[0].split, content.shape, content.samples_per_shard).values()
    row = sum(array.row_bytes for array in arrays)
    lacking = [shard for shard in plan.shards if shard not in records or not records[shard].factors]
    images = sum(shard.stop - shard.start for shard in lacking)
    size = f"{content.factors.dtype} up to rank {content.factors.rank}, {row:,} bytes an image"
    return f"{size}, {images * row / 1e6:,.1f} MB to build" if images else f"{size}, in place"


def _measure(source: Source, plan: Plan, device: Device) -> tuple[dict[Variant, float], float]:
    """Returns the mean bytes of a sample in each variant's tar, and the seconds of work per image."""
    every = [(split, int(i)) for split, positions in plan.positions.items() for i in positions]
    chosen = np.unique(np.linspace(0, len(every) - 1, _MEASURED).astype(int))
    entries = tuple(plan.index.splits[split].entry(i) for split, i in (every[c] for c in chosen))
    variants = plan.content.variants
    task = ShardTask(
        shard=Shard(plan.shards[0].split, 0, 0, len(entries)),
        identity="",
        entries=entries,
        geometry=plan.content.geometry,
        shape=plan.content.shape,
        side=plan.content.side,
        samples_per_shard=len(entries),
        tars={},
        all_tars=dict.fromkeys(variants, ""),
        factors=plan.content.factors,
        kept=None,
        source=source,
        root=Path(),
        run="",
    )
    places, _ = choose.in_this_process(device)
    for _ in range(2):  # the first pass warms up
        total, count, start = dict.fromkeys(variants, 0), 0, time.perf_counter()
        for encoded in encode_batches(task, variants, Progress(), places(task)):
            count += len(encoded.batch.positions)
            for variant, files in encoded.files.items():
                total[variant] += int((3 * BLOCK + files.sizes + -files.sizes % BLOCK).sum())
    if not count:
        raise PipelineError("none of the images that were tried can be read")
    return {variant: size / count for variant, size in total.items()}, (time.perf_counter() - start) / len(entries)
