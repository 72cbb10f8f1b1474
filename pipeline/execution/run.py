"""A build from beginning to end: source, plan, lock, engine, finish."""

import contextlib
import os
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError, UsageError, one_line, redacted
from pipeline.execution import scheduler
from pipeline.execution.attempt import Failure
from pipeline.execution.device import Device
from pipeline.execution.events import STDERR, Events, rounded
from pipeline.execution.pace import Pace
from pipeline.execution.progress import ProgressLine
from pipeline.execution.ray import cluster
from pipeline.execution.stall_watch import Watch, lasting
from pipeline.planning import manifest, output_state
from pipeline.planning.job import Job
from pipeline.planning.output_spec import Content, geometry_of, resolve
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.record import Reject
from pipeline.planning.shard_task import STAGES, Progress, ShardTask, shard_tasks
from pipeline.sources import description, open_source
from pipeline.sources.index import Source, SourceIndex
from pipeline.sources.shapes import shapes_of
from pipeline.storage.lock import LostLock
from pipeline.storage.store import BUILD, Store, open_store

# A source of which more than half of the first images is unreadable is the wrong source.
_FIRST = 1000


@dataclass
class Outcome:
    """What a build did.

    Attributes:
        manifest: of the finished output.
        images: source images that went through this run; 0 where everything was in place.
        working: seconds from the first shard's begin to the last one's commit.
        seconds: worked, by stage, over all workers.
        retried: how often each shard was tried again.
        repaired: planes whose eigenvectors a card gave wrongly, and LAPACK then rightly.
    """

    manifest: dict[str, Any]
    images: int = 0
    shards: int = 0
    working: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    retried: Counter[str] = field(default_factory=Counter)
    repaired: int = 0


def plan_job(job: Job) -> tuple[Source, Plan]:
    """The source and the plan of a job, as the output would be after it. Nothing is written.

    Raises:
        PipelineError: as ``open_source``, ``resolve`` and ``output.merged`` do.
    """
    cluster.check_lasts(job.out)
    with _disk_errors(job):
        output_state.check_place(open_store(job.out), job.out)
    inside = isinstance(job.out, Path) and job.data_dir and job.out.resolve().is_relative_to(job.data_dir.resolve())
    if job.dataset in ("imagenet", "folder", "webdataset") and inside:
        raise UsageError(f"--out {job.out} lies inside --data-dir {job.data_dir}, whose images it would join")
    source = open_source(
        job.dataset,
        job.data_dir,
        allow_unverified=job.allow_unverified,
        label_key=job.label_key,
        classes=job.classes,
        download=False if job.dry_run else (lambda *_: None) if silent(job) else True,
    )
    geometry = geometry_of(job, source.default_geometry)
    index = source.index()
    _say_what_was_read(job, index)
    try:
        shapes = shapes_of(source, index, geometry)
    except OSError as error:
        raise PipelineError(f"{error.filename or job.data_dir}: {error.strerror or error}") from None
    wanted = resolve(job, index, source.default_order, geometry, shapes)
    return source, make_plan(_merged(job, wanted, index), index)


def _say_what_was_read(job: Job, index: SourceIndex) -> None:
    """Prints to stderr how the source was understood, and what is left out even with ``--quiet``."""
    lines = [] if silent(job) else description.describe(index)
    for line in lines + description.describe_left_out(index):
        console.tell(line)


def silent(job: Job) -> bool:
    """Whether stderr is to carry no progress for people."""
    return job.quiet or job.log_json == STDERR


def _merged(job: Job, wanted: Content, index: SourceIndex) -> Content:
    with _disk_errors(job):
        return output_state.merged(open_store(job.out), wanted, index, job.overwrite)


def build(job: Job) -> Outcome:
    """Build what a job's output lacks, and finish it.

    Raises:
        PipelineError: why it could not be finished, and what to do. What is committed stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same command goes on.
    """
    job = replace(job, address=None if job.workers == 0 else cluster.find(job.address))
    if not job.address:
        Device(job.device, job.gpus).cards_here()  # a card that is not to be had is told before anything else
    events = Events(job.log_json, job.out)
    with lasting(job.stall, f"going through the images of {job.data_dir or job.dataset}", events.say):
        source, plan = plan_job(job)
    _make_root(job)
    run = uuid.uuid4().hex[:12]
    root = job.out.resolve() if isinstance(job.out, Path) else job.out  # workers have another working directory
    store = open_store(root)
    with _disk_errors(job), store.lock(run):
        store.clear_scratch()
        content = _merged(job, plan.content, plan.index)  # once more: another run may have grown it meanwhile
        if content != plan.content:
            plan = make_plan(content, plan.index)
        if job.overwrite:
            output_state.wipe(store, content)
        output_state.prepare(store, plan.content, run)
        try:
            return _build(job, source, plan, store, run, events)
        finally:
            with contextlib.suppress(OSError):
                store.clear_scratch()  # of workers that were stopped


def _build(job: Job, source: Source, plan: Plan, store: Store, run: str, events: Events) -> Outcome:
    with lasting(job.stall, f"looking through what is in {job.out}", events.say):
        tasks = shard_tasks(store, source, plan, job.recheck, run)
    output_state.log_run(store, _log(run, "started", workers=job.workers, shards=len(tasks)))
    outcome = Outcome({})
    try:
        if tasks:
            _run(job, plan, tasks, outcome, store, events)
        with lasting(job.stall, f"writing the lists and the manifest of {job.out}", events.say):
            outcome.manifest = output_state.finish(store, plan, run, job.recheck)
    finally:
        did = {"images": outcome.images, "retries": outcome.retried.total(), "retried": outcome.retried}
        did["repaired"] = outcome.repaired
        took = {"working": round(outcome.working, 3), "seconds": rounded(outcome.seconds)}
        with contextlib.suppress(OSError):  # a log is no part of what is promised
            output_state.log_run(store, _log(run, "finished" if outcome.manifest else "ended early", **did, **took))
    return outcome


def _run(job: Job, plan: Plan, tasks: list[ShardTask], outcome: Outcome, store: Store, events: Events) -> None:
    workers = (os.cpu_count() or 1) if job.workers is None and not job.address else job.workers
    workers = None if workers is None else min(len(tasks), workers)
    pace = Pace([len(task.entries) for task in tasks], workers)
    in_place = sum(len(positions) for positions in plan.positions.values()) - pace.images
    line = ProgressLine(pace, silent(job))
    rejects: list[Reject] = []

    def done(task: ShardTask, progress: Progress) -> None:
        outcome.images += progress.images
        outcome.shards += 1
        outcome.repaired += progress.repaired
        for stage, seconds in progress.seconds.items():
            outcome.seconds[stage] += seconds
        outcome.working = line.elapsed
        rejects.extend(progress.rejects)
        pace.finished(len(task.entries), progress.seconds)
        line.show()
        events.shard(task, progress, pace, line.elapsed)
        _check_rejects(in_place + outcome.images, rejects)

    def retry(task: ShardTask, failure: Failure) -> None:
        outcome.retried[task.shard.name] += 1
        console.tell(f"trying again: {one_line(failure.message)}")
        events.emit("retry", shard=task.shard.name, message=one_line(failure.message))

    def report(progress: Progress) -> None:
        pace.working(progress.images + len(progress.rejects), progress.seconds)
        line.show()
        _check_rejects(in_place + outcome.images + progress.images, rejects + progress.rejects)

    def ready(computes_on: str) -> None:
        store.delete(manifest.NAME)
        line.start(computes_on)
        counts = {"images": pace.images, "shards": pace.shards, "workers": workers}
        events.emit("started", out=str(job.out), **counts, device=computes_on)

    try:
        device, watch = Device(job.device, job.gpus), Watch(job.stall, events.say)
        scheduler.run(tasks, workers, done, retry, report, ready, watch, job.address, device)
    except scheduler.ShardError as error:
        if error.details:
            with contextlib.suppress(LostLock):
                store.put(f"{BUILD}/error.txt", redacted(error.details).encode(), tasks[0].run)
            raise PipelineError(f"{error}; a fault of this program, its traceback is in {BUILD}/error.txt") from None
        raise
    finally:
        line.close()
    if not in_place + outcome.images:
        raise PipelineError(f"no image could be read; the first: {rejects[0].name}: {rejects[0].reason}")


def _check_rejects(images: int, rejects: list[Reject]) -> None:
    if images + len(rejects) >= _FIRST and len(rejects) > images:
        raise PipelineError(
            f"{len(rejects):,} of the first {images + len(rejects):,} images cannot be read, so this is hardly the right "
            f"source; the first: {rejects[0].name}: {rejects[0].reason}"
        )


def _make_root(job: Job) -> None:
    try:
        open_store(job.out).make_root()
    except OSError as error:
        raise PipelineError(f"--out {job.out}: {error.strerror}") from None


@contextlib.contextmanager
def _disk_errors(job: Job) -> Iterator[None]:
    """A file system that refuses the driver's own small writes ends the build as one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or job.out
        raise PipelineError(f"--out {where}: {error.strerror or error}") from None


def _log(run: str, event: str, **more: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"run": run, "event": event, "time": now, "host": socket.gethostname(), "pid": os.getpid(), **more}
