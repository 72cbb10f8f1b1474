"""A build from beginning to end: source, plan, lock, shards, manifest."""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError, UsageError, redacted
from pipeline.execution import scheduler
from pipeline.execution.device import Device
from pipeline.execution.executor import Executor
from pipeline.execution.ray import address
from pipeline.execution.reporting.events import Events, rounded
from pipeline.execution.reporting.outcome import BuildListener, Outcome, silent
from pipeline.execution.reporting.progress import Pace
from pipeline.execution.worker_count import pixels_of, worker_count
from pipeline.liveness import lasting
from pipeline.planning import output_state
from pipeline.planning.job import Job
from pipeline.planning.output_spec import Content, geometry_of, resolve
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.shard_task import ShardTask, shard_tasks
from pipeline.sources import IN_FOLDERS, description, open_source
from pipeline.sources.index import Source, SourceIndex
from pipeline.sources.shapes import shapes_of
from pipeline.storage.lock import LostLock
from pipeline.storage.store import BUILD, Store, open_store


def plan_job(job: Job, source: Source | None = None) -> tuple[Source, Plan]:
    """Returns the source of a job and the plan of its output, as it will be after the build. Writes nothing.

    Args:
        source: the source; None if the job names it.

    Raises:
        PipelineError: the source cannot be opened, the options do not fit it, or the output holds something else.
    """
    address.check_output(job.out)
    with _disk_errors(job):
        output_state.check_place(open_store(job.out), job.out)
    inside = isinstance(job.out, Path) and job.data_dir and job.out.resolve().is_relative_to(job.data_dir.resolve())
    if job.dataset in IN_FOLDERS and inside:
        raise UsageError(f"--out {job.out} lies inside --data-dir {job.data_dir}, whose images it would join")
    source = source or open_source(
        job.dataset,
        job.data_dir,
        allow_unverified=job.allow_unverified,
        image_key=job.image_key,
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
    content = resolve(job, index, source.default_order, geometry, shapes)
    return source, make_plan(_merged(job, content, index), index)


def _say_what_was_read(job: Job, index: SourceIndex) -> None:
    """Prints to stderr how the source was understood, and what is left out even with ``--quiet``."""
    lines = [] if silent(job) else description.describe(index)
    for line in lines + description.describe_left_out(index):
        console.tell(line)


def _merged(job: Job, content: Content, index: SourceIndex) -> Content:
    """Returns what the output will hold: the job's content and what is in the output already."""
    with _disk_errors(job):
        return output_state.merged(open_store(job.out), content, index, job.overwrite)


def build(job: Job, events: Events | None = None, source: Source | None = None) -> Outcome:
    """Builds what the output of a job lacks, and finishes it.

    Args:
        events: where to write events; default: the place that the job names.
        source: the source; None if the job names it.

    Raises:
        PipelineError: the build could not be finished; the message says why and what to do. Committed shards stay.
        KeyboardInterrupt: on Ctrl-C or SIGTERM. The same command continues.
    """
    job = replace(job, address=None if job.workers == 0 else address.find(job.address))
    if not job.address:
        Device(job.device, job.gpus).gpus_here()  # a missing GPU is reported before the source is read
    events = events or Events(job.log_json, job.out)
    with lasting(job.stall, f"going through the images of {job.data_dir or job.dataset}", events.say):
        source, plan = plan_job(job, source)
    _make_root(job)
    run = uuid.uuid4().hex[:12]
    root = job.out.resolve() if isinstance(job.out, Path) else job.out  # workers have another working directory
    store = open_store(root)
    with _disk_errors(job), store.lock(run):
        store.clear_scratch()
        content = _merged(job, plan.content, plan.index)  # again: another run may have extended the output meanwhile
        if content != plan.content:
            plan = make_plan(content, plan.index)
        if job.overwrite:
            output_state.wipe(store, content)
        output_state.prepare(store, plan.content, run)
        try:
            with lasting(job.stall, f"looking through what is in {job.out}", events.say):
                tasks = shard_tasks(store, source, plan, job.recheck, run)
            return _Build(job, plan, tasks, store, events).run(run)
        finally:
            with contextlib.suppress(OSError):
                store.clear_scratch()  # files of workers that were stopped


class _Build:
    """The part of a build that holds the lock and knows its tasks."""

    def __init__(self, job: Job, plan: Plan, tasks: list[ShardTask], store: Store, events: Events) -> None:
        self._job, self._plan, self._tasks, self._store, self._events = job, plan, tasks, store, events
        cluster = job.address and job.workers is None  # as many workers as the cluster has
        self._workers = None if cluster else worker_count(job, len(tasks), pixels_of(plan.content, tasks))
        pace = Pace([len(task.entries) for task in tasks], self._workers)
        in_place = sum(len(positions) for positions in plan.positions.values()) - pace.images
        self._listener = BuildListener(job, store, events, pace, self._workers, in_place)

    def run(self, run_id: str) -> Outcome:
        """Builds the shards, writes the manifest, and logs both under ``run_id``."""
        job, store, outcome = self._job, self._store, self._listener.outcome
        output_state.log_run(store, _log(run_id, "started", workers=job.workers, shards=len(self._tasks)))
        try:
            if self._tasks:
                self._build_shards()
            with lasting(job.stall, f"writing the lists and the manifest of {job.out}", self._events.say):
                outcome.manifest = output_state.finish(store, self._plan, run_id, job.recheck)
        finally:
            counts = {"images": outcome.images, "retries": outcome.retried.total(), "retried": outcome.retried}
            counts["repaired"] = outcome.repaired
            times = {"working": round(outcome.working, 3), "seconds": rounded(outcome.seconds)}
            event = "finished" if outcome.manifest else "ended early"
            with contextlib.suppress(OSError):  # a build does not fail for its log
                output_state.log_run(store, _log(run_id, event, **counts, **times))
        return outcome

    def _build_shards(self) -> None:
        listener = self._listener
        try:
            scheduler.run(self._tasks, _executor(self._job, self._workers), listener)
        except scheduler.ShardError as error:
            if error.details:
                with contextlib.suppress(LostLock):
                    self._store.put(f"{BUILD}/error.txt", redacted(error.details).encode(), self._tasks[0].run)
                raise PipelineError(
                    f"{error}; a fault of this program, its traceback is in {BUILD}/error.txt"
                ) from None
            raise
        finally:
            listener.line.close()
        if not listener.readable:
            first = listener.rejects[0]
            raise PipelineError(f"no image could be read; the first: {first.name}: {first.reason}")


def _executor(job: Job, workers: int | None) -> Executor:
    """Returns the executor of a job. Only now is the code loaded that computes: planning needs the memory before."""
    device = Device(job.device, job.gpus)
    if job.address:
        from pipeline.execution.ray.cluster import RayCluster

        return RayCluster(job.address, workers, device)
    if workers:
        from pipeline.execution.ray.local import LocalRay

        return LocalRay(workers, device)
    from pipeline.execution.in_process import ThisProcess

    return ThisProcess(device)


def _make_root(job: Job) -> None:
    try:
        open_store(job.out).make_root()
    except OSError as error:
        raise PipelineError(f"--out {job.out}: {error.strerror}") from None


@contextlib.contextmanager
def _disk_errors(job: Job) -> Iterator[None]:
    """Turns an error of the file system in the driver's own small writes into a one-line message."""
    try:
        yield
    except OSError as error:
        where = error.filename or job.out
        raise PipelineError(f"--out {where}: {error.strerror or error}") from None


def _log(run: str, event: str, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"run": run, "event": event, "time": now, "host": socket.gethostname(), "pid": os.getpid(), **fields}
