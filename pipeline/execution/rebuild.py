"""Rebuilds files of a finished output as its manifest lists them: the work of ``pipeline.repair``.

The tasks of a build write the files into a temporary folder. A file is moved into the output only if its SHA-256 is the one
in the manifest. No other file of the output changes, and the manifest stays in place.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.cores import usable_cores
from pipeline.errors import PipelineError, Undecodable, one_line
from pipeline.execution import deadly_images, run, scheduler
from pipeline.execution.in_process import ThisProcess
from pipeline.execution.ray.local import LocalRay
from pipeline.execution.reporting.listener import Listener
from pipeline.execution.reporting.progress import Pace, ProgressLine
from pipeline.execution.reporting.stall_watch import Watch
from pipeline.formats import clients, spectra
from pipeline.formats.factors import Factors
from pipeline.numerics.variants import Variant
from pipeline.planning import manifest, output_state
from pipeline.planning.job import Job
from pipeline.planning.output_spec import ENCODER
from pipeline.planning.plan import Plan, Shard, tar_name
from pipeline.planning.record import Record, Reject
from pipeline.planning.shard_task import Progress, ShardTask, shard_task, shard_tasks
from pipeline.sources import OBJECT, options_of_reading
from pipeline.sources.index import Entry, Source
from pipeline.storage.local_store import LocalStore
from pipeline.storage.store import BUILD, SCRATCH

_TEMPORARY = f"{SCRATCH}/repair"


@dataclass
class Repair:
    """What a repair did.

    Attributes:
        repaired: files that are as the manifest lists them now.
        refused: files that would have other bytes than the manifest says; they were not changed.
    """

    repaired: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def repair(out: Path, document: dict[str, Any], files: Set[str], job: Job, source: Source | None = None) -> Repair:
    """Rebuilds some files of an output.

    Args:
        document: the manifest, which was checked.
        files: the files to rebuild, all of them in the manifest.
        job: ``job_of`` the manifest.
        source: the source; None if the job names it.

    Raises:
        PipelineError: the source is not the one that the output was built from, or cannot be read; another run owns the
            output; another version of this program built it.
    """
    store, name = LocalStore(out.resolve()), uuid.uuid4().hex[:12]
    store.make_root()
    with store.lock(name):
        store.make_folders([])
        store.clear_scratch()
        try:
            return _Repair(store, name, document, files, replace(job, out=store.root / _TEMPORARY), source).run()
        finally:
            store.clear_scratch()


def tidy(out: Path) -> None:
    """Removes the lock and the temporary files of a killed repair or build, unless another run owns the output."""
    store = LocalStore(out.resolve())
    if store.names(SCRATCH) or store.size(f"{BUILD}/lock") is not None:
        with contextlib.suppress(OSError, PipelineError), store.lock(uuid.uuid4().hex[:12]):
            store.clear_scratch()


def job_of(document: dict[str, Any], out: Path, options: dict[str, Any]) -> Job:
    """Returns the job whose output a manifest describes.

    Args:
        document: the manifest.
        options: where its source is now and other options, named as the flags of a build.

    Raises:
        UsageError: an option does not fit, or no job leads to this manifest.
    """
    job_keys, geometry = document["job"], document["image"]["geometry"]
    job = Job.parse(
        {
            "dataset": None if document["dataset"] == OBJECT else document["dataset"],
            "name": document["name"],
            "out": str(out),
            "components": "full",  # replaced below: the variants need not be a product of ranks and components
            "splits": job_keys["splits"],
            "limit": job_keys["limit"],
            "order": job_keys["order"],
            "seed": job_keys["seed"],
            "samples-per-shard": job_keys["samples_per_shard"],
            "resize": geometry["resize"] or "native",
            "crop": geometry["crop"] or "none",
        }
        | options
    )
    factors = Factors(document["factors"]["rank"], document["factors"]["dtype"]) if document["factors"] else None
    variants = tuple(Variant.parse(name) for name in job_keys["variants"])
    return replace(job, dataset=document["dataset"], variants=variants, factors=factors, quiet=True)


class _Repair:
    def __init__(
        self,
        store: LocalStore,
        name: str,
        document: dict[str, Any],
        files: Set[str],
        job: Job,
        source: Source | None,
    ) -> None:
        self._source = source
        self._store, self._run, self._document, self._files, self._job = store, name, document, files, job
        self._result = Repair()

    def run(self) -> Repair:
        self._put(clients.files(self._document))
        if self._remaining():
            source, plan = self._planned()
            self._put(manifest.array_files(plan) | self._lists(source, plan))
            self._rebuild(source, plan)
        self._result.refused += sorted(self._remaining())
        return self._result

    def _remaining(self) -> set[str]:
        return {*self._files} - {*self._result.repaired, *self._result.refused}

    def _put(self, contents: Mapping[str, bytes]) -> None:
        """Publishes those small files that are to be repaired, if they are as the manifest lists them."""
        matching = {}
        for name in sorted(self._files & contents.keys()):
            if self._matches(name, len(contents[name]), hashlib.sha256(contents[name]).hexdigest()):
                matching[name] = contents[name]
        self._store.make_folders(_folders(matching))
        self._store.put_all(matching, self._run)

    def _matches(self, name: str, size: int, digest: str) -> bool:
        """Returns whether a rebuilt file is as the manifest lists it, and records the result."""
        matches = self._document["files"][name] == {"bytes": size, "sha256": digest}
        (self._result.repaired if matches else self._result.refused).append(name)
        return bool(matches)

    def _planned(self) -> tuple[Source, Plan]:
        source, plan = run.plan_job(self._job, self._source)
        expected, actual = self._document["source"]["fingerprint"], plan.content.fingerprint
        if actual != expected:
            options = options_of_reading(self._job.dataset)
            needed = f"the data and {options}" if options else "the data"
            raise PipelineError(
                f"the source is not the one that the output was built from: its fingerprint is {actual}, the manifest says "
                f"{one_line(expected)}; nothing can be repaired from it: give {needed} of the build, "
                "or rebuild the output with --overwrite"
            )
        if self._document["image"]["encoder"] != ENCODER:
            raise PipelineError(
                "the output was built by another version of this program, whose PNG files have other bytes; repair it with "
                "that version, or rebuild it with --overwrite"
            )
        return source, plan

    def _lists(self, source: Source, plan: Plan) -> dict[str, bytes]:
        """Returns the lists of samples and of rejects that are to be repaired."""
        splits = {f"{output_state.SAMPLES}/{split}.jsonl": split for split in plan.content.splits}
        lists = {name: manifest.samples(plan, split) for name, split in splits.items() if name in self._files}
        if manifest.REJECTS in self._files:
            records = {shard: Record("", "", 0, 0, {}, self._rejects(source, plan, shard), ()) for shard in plan.shards}
            lists[manifest.REJECTS] = manifest.rejects(plan, records)
        return lists

    def _rejects(self, source: Source, plan: Plan, shard: Shard) -> tuple[Reject, ...]:
        """Returns the images of a shard that are deadly or cannot be decoded."""
        if not self._has_rejects(shard):
            return ()
        deadly = self._deadly_images(shard_task(self._store, source, plan, shard, None, self._run))
        rejects = []
        for position, entry in enumerate(plan.entries(shard), shard.start):
            reason = deadly.get(entry.index) or _undecodable(plan, source, entry)
            if reason:
                rejects.append(Reject(shard.split, entry.index, position, entry.name, entry.size, reason))
        return tuple(rejects)

    def _has_rejects(self, shard: Shard) -> bool:
        """Returns whether a shard has fewer samples than source images."""
        variant = next(iter(self._document["variants"].values()))
        samples = variant["splits"][shard.split]["shards"][shard.number]["samples"]
        return bool(samples < shard.stop - shard.start)

    def _deadly_images(self, task: ShardTask) -> dict[int, str]:
        return deadly_images.find(replace(task, tars={}), Progress()) if self._has_rejects(task.shard) else {}

    def _rebuild(self, source: Source, plan: Plan) -> None:
        """Builds the shards that have files to repair, and moves these files into the output shard by shard."""
        temporary = LocalStore(self._store.root / _TEMPORARY)
        temporary.make_root()
        with temporary.lock(self._run):
            output_state.prepare(temporary, plan.content, self._run)
            tasks = [self._task(plan, task) for task in shard_tasks(temporary, source, plan, False, self._run)]
            tasks = [replace(task, deadly=self._deadly_images(task)) for task in tasks if self._files_of(plan, task)]
            if not tasks:
                return
            workers = self._job.workers if self._job.workers is not None else _workers(len(tasks))
            executor = LocalRay(workers) if workers else ThisProcess()
            pace = Pace([len(task.entries) for task in tasks], workers)
            watch = Watch(self._job.stall, lambda event, message, **_: console.tell(one_line(message)))
            listener = _RepairListener(pace, watch, lambda task: self._move(temporary, self._files_of(plan, task)))
            try:
                scheduler.run(tasks, executor, listener)
            finally:
                listener.line.close()

    def _task(self, plan: Plan, task: ShardTask) -> ShardTask:
        """Returns the task without the variants whose files are intact."""
        names = {variant: tar_name(plan.content, variant, task.shard) for variant in plan.content.variants}
        return replace(task, tars={v: name for v, name in names.items() if {name, _index(name)} & self._files})

    def _files_of(self, plan: Plan, task: ShardTask) -> list[str]:
        """Returns the files to repair that the task of a shard builds."""
        content, shard = plan.content, task.shard
        names = [name for tar in task.tars.values() for name in (tar, _index(tar))]
        arrays = [spectra.array(shard.split, content.side, content.samples_per_shard)]
        if content.factors and content.shape:
            arrays += content.factors.arrays(shard.split, content.shape, content.samples_per_shard).values()
        names += [name for array in arrays for name in array.chunks(shard.start, shard.stop)]
        return [name for name in names if name in self._files]

    def _move(self, temporary: LocalStore, names: list[str]) -> None:
        """Moves rebuilt files into the output, if they are as the manifest lists them."""
        matching = [name for name in names if self._matches(name, temporary.size(name) or 0, temporary.sha256(name))]
        self._store.make_folders(_folders(matching))
        self._store.publish({name: temporary.root / name for name in matching}, self._run)


class _RepairListener(Listener):
    """Moves the files of each shard as soon as they are rebuilt."""

    def __init__(self, pace: Pace, watch: Watch, move: Callable[[ShardTask], None]) -> None:
        super().__init__(pace, ProgressLine(pace, quiet=False), watch)
        self._move = move

    def built(self, task: ShardTask, progress: Progress) -> None:
        self._move(task)
        super().built(task, progress)


def _undecodable(plan: Plan, source: Source, entry: Entry) -> str:
    """Returns why an image cannot be decoded, or an empty string."""
    try:
        plan.content.geometry.apply(source.decode(source.read(entry)).pixels)
    except Undecodable as error:
        return str(error)
    return ""


def _workers(tasks: int) -> int:
    """Returns the default number of workers. For one shard it is 0, because Ray takes seconds to start."""
    return 0 if tasks == 1 else min(tasks, usable_cores())


def _index(tar: str) -> str:
    return tar.removesuffix(".tar") + ".idx"


def _folders(names: Iterable[str]) -> list[str]:
    return sorted({str(Path(name).parent) for name in names})
