"""Files of a finished output made once more, as its manifest claims them: what repair does.

The build's own tasks write them into a folder beside; a file takes its place only if its SHA-256 is the claimed one.
Nothing else of the output is touched, and the manifest stays where it is.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import PipelineError, Undecodable, one_line
from pipeline.execution import deadly_images, run, scheduler
from pipeline.execution.pace import Pace
from pipeline.execution.progress import ProgressLine
from pipeline.execution.stall_watch import Watch
from pipeline.formats import clients, png, spectra
from pipeline.formats.factors import Factors
from pipeline.numerics.variants import Variant
from pipeline.planning import manifest, output_state
from pipeline.planning.job import Job
from pipeline.planning.plan import Plan, Shard, tar_name
from pipeline.planning.record import Record, Reject
from pipeline.planning.shard_task import Progress, ShardTask, shard_task, shard_tasks
from pipeline.sources.index import Entry, Source
from pipeline.storage.local_store import LocalStore
from pipeline.storage.store import BUILD, SCRATCH

_SIDE = f"{SCRATCH}/repair"  # the folder beside


@dataclass
class Repair:
    """What was done. ``refused``: files that would have other bytes than the manifest claims."""

    repaired: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def repair(out: Path, told: dict[str, Any], files: Set[str], job: Job) -> Repair:
    """Make some files of an output anew.

    Args:
        told: the manifest, as it was read and found to be in order.
        files: those that are to be made, all of them in the manifest.
        job: ``job_of`` the manifest.

    Raises:
        PipelineError: the source is not the one that the output was made from, or cannot be read; another run owns the
            output; it was made by another version of this program.
    """
    store, name = LocalStore(out.resolve()), uuid.uuid4().hex[:12]
    store.make_root()
    with store.lock(name):
        store.make_folders([])
        store.clear_scratch()
        try:
            return _Repair(store, name, told, files, replace(job, out=store.root / _SIDE)).run()
        finally:
            store.clear_scratch()


def tidy(out: Path) -> None:
    """Remove what a repair or a build that was killed has left, its lock too, unless another run owns the output."""
    store = LocalStore(out.resolve())
    if store.names(SCRATCH) or store.size(f"{BUILD}/lock") is not None:
        with contextlib.suppress(OSError, PipelineError), store.lock(uuid.uuid4().hex[:12]):
            store.clear_scratch()


def job_of(told: dict[str, Any], out: Path, options: dict[str, Any]) -> Job:
    """The job whose output a manifest describes.

    Args:
        options: where its source lies now and the like, named as the flags of a build.

    Raises:
        UsageError: an option that does not fit, or a manifest that no job gives.
    """
    of, geometry = told["job"], told["image"]["geometry"]
    job = Job.parse(
        {
            "dataset": told["dataset"],
            "name": told["name"],
            "out": str(out),
            "components": "full",  # the true variants follow: they need be no product of ranks and components
            "splits": of["splits"],
            "limit": of["limit"],
            "order": of["order"],
            "seed": of["seed"],
            "samples-per-shard": of["samples_per_shard"],
            "resize": geometry["resize"] or "native",
            "crop": geometry["crop"] or "none",
        }
        | options
    )
    kept = Factors(told["factors"]["rank"], told["factors"]["dtype"]) if told["factors"] else None
    return replace(job, variants=tuple(Variant.parse(name) for name in of["variants"]), factors=kept, quiet=True)


class _Repair:
    def __init__(self, store: LocalStore, name: str, told: dict[str, Any], files: Set[str], job: Job) -> None:
        self._store, self._run, self._told, self._files, self._job = store, name, told, files, job
        self._done = Repair()

    def run(self) -> Repair:
        self._put(clients.files(self._told))
        if self._files - {*self._done.repaired, *self._done.refused}:
            source, plan = self._planned()
            self._put(manifest.array_files(plan) | self._lists(source, plan))
            self._rebuild(source, plan)
        missed = self._files - {*self._done.repaired, *self._done.refused}
        self._done.refused += sorted(missed)
        return self._done

    def _put(self, made: Mapping[str, bytes]) -> None:
        """Publish those of some small files that are to be repaired."""
        fit = {}
        for name in sorted(self._files & made.keys()):
            if self._claimed(name, len(made[name]), hashlib.sha256(made[name]).hexdigest()):
                fit[name] = made[name]
        self._store.make_folders(_folders(fit))
        self._store.put_all(fit, self._run)

    def _claimed(self, name: str, size: int, digest: str) -> bool:
        fits = self._told["files"][name] == {"bytes": size, "sha256": digest}
        (self._done.repaired if fits else self._done.refused).append(name)
        return bool(fits)

    def _planned(self) -> tuple[Source, Plan]:
        source, plan = run.plan_job(self._job)
        wanted, found = self._told["source"]["fingerprint"], plan.content.fingerprint
        if found != wanted:
            raise PipelineError(
                f"the source is not the one that the output was made from: its fingerprint is {found}, the manifest says "
                f"{one_line(wanted)}; nothing of it can be repaired, build the output anew with --overwrite"
            )
        if self._told["image"]["encoder"] != png.ENCODER:
            raise PipelineError(
                "the output was made by another version of this program, whose PNG files have other bytes; repair it with "
                "that version, or build it again with --overwrite"
            )
        return source, plan

    def _lists(self, source: Source, plan: Plan) -> dict[str, bytes]:
        """The lists of samples and of rejects that are to be repaired."""
        splits = {f"{output_state.SAMPLES}/{split}.jsonl": split for split in plan.content.splits}
        made = {name: manifest.samples(plan, split) for name, split in splits.items() if name in self._files}
        if manifest.REJECTS in self._files:
            records = {shard: Record("", "", 0, 0, {}, self._rejects(source, plan, shard), ()) for shard in plan.shards}
            made[manifest.REJECTS] = manifest.rejects(plan, records)
        return made

    def _rejects(self, source: Source, plan: Plan, shard: Shard) -> tuple[Reject, ...]:
        """What of a shard kills whoever takes it up, or cannot be decoded."""
        if not self._lacks(shard):
            return ()
        killers = self._killers(shard_task(self._store, source, plan, shard, None, self._run))
        rejects = []
        for position, entry in enumerate(plan.entries(shard), shard.start):
            reason = killers.get(entry.index) or _undecodable(plan, source, entry)
            if reason:
                rejects.append(Reject(shard.split, entry.index, position, entry.name, entry.size, reason))
        return tuple(rejects)

    def _lacks(self, shard: Shard) -> bool:
        """Whether some of its images were rejected."""
        variant = next(iter(self._told["variants"].values()))
        samples = variant["splits"][shard.split]["shards"][shard.number]["samples"]
        return bool(samples < shard.stop - shard.start)

    def _killers(self, task: ShardTask) -> dict[int, str]:
        return deadly_images.killers(replace(task, tars={}), Progress()) if self._lacks(task.shard) else {}

    def _rebuild(self, source: Source, plan: Plan) -> None:
        """Run the tasks of the shards that have files to repair, and move these files into place, shard by shard."""
        side = LocalStore(self._store.root / _SIDE)
        side.make_root()
        with side.lock(self._run):
            output_state.prepare(side, plan.content, self._run)
            tasks = [self._task(plan, task) for task in shard_tasks(side, source, plan, False, self._run)]
            tasks = [replace(task, killers=self._killers(task)) for task in tasks if self._wanted(plan, task)]
            if not tasks:
                return
            workers = self._job.workers if self._job.workers is not None else _workers(len(tasks))
            pace = Pace([len(task.entries) for task in tasks], workers)
            line = ProgressLine(pace, quiet=False)

            def done(task: ShardTask, progress: Any) -> None:
                self._move(side, self._wanted(plan, task))
                pace.finished(len(task.entries), progress.seconds)
                line.show()

            try:
                watch = Watch(self._job.stall, lambda event, message, **_: console.tell(one_line(message)))
                scheduler.run(tasks, workers, done, lambda *_: None, lambda _: None, line.start, watch)
            finally:
                line.close()

    def _task(self, plan: Plan, task: ShardTask) -> ShardTask:
        """The task, less the variants whose files are in order."""
        names = {variant: tar_name(plan.content, variant, task.shard) for variant in plan.content.variants}
        return replace(task, tars={v: name for v, name in names.items() if {name, _index(name)} & self._files})

    def _wanted(self, plan: Plan, task: ShardTask) -> list[str]:
        """The files to repair of a task's shard."""
        content, shard = plan.content, task.shard
        names = [name for tar in task.tars.values() for name in (tar, _index(tar))]
        arrays = [spectra.array(shard.split, content.side, content.samples_per_shard)]
        if content.factors and content.shape:
            arrays += content.factors.arrays(shard.split, content.shape, content.samples_per_shard).values()
        names += [name for array in arrays for name in array.chunks(shard.start, shard.stop)]
        return [name for name in names if name in self._files]

    def _move(self, side: LocalStore, names: list[str]) -> None:
        fit = [name for name in names if self._claimed(name, side.size(name) or 0, side.sha256(name))]
        self._store.make_folders(_folders(fit))
        self._store.publish({name: side.root / name for name in fit}, self._run)


def _undecodable(plan: Plan, source: Source, entry: Entry) -> str:
    """Why an image cannot be decoded; empty where it can."""
    try:
        plan.content.geometry.apply(source.decode(source.read(entry)).pixels)
    except Undecodable as error:
        return str(error)
    return ""


def _workers(tasks: int) -> int:
    """A single shard is not worth the seconds that Ray takes to start."""
    return 0 if tasks == 1 else min(tasks, len(os.sched_getaffinity(0)))


def _index(tar: str) -> str:
    return tar.removesuffix(".tar") + ".idx"


def _folders(names: Any) -> list[str]:
    return sorted({str(Path(name).parent) for name in names})
