"""``pipeline.build_dataset`` and ``pipeline.repair_dataset``: build and repair from dataset objects of a program."""

import argparse
import json
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.execution.reporting.outcome import Outcome
    from pipeline.planning.job import Job
    from pipeline.sources.objects.source import DatasetObject

_REFUSED = {
    "dataset": "is the first argument",
    "data-dir": "names a folder, which goes with the command build",
    "workers": "a dataset object is read and computed in this process",
    "address": "a dataset object is read and computed in this process",
    "allow-unverified": "a dataset object has no official checksums",
    "dry-run": "goes with the command build",
}


@dataclass(frozen=True)
class BuiltDataset:
    """A finished output.

    Attributes:
        out: its folder.
        variants: the folder of each variant's shards, by the variant's name.
        splits: number of samples by split.
        classes: class names, position = label.
        built: number of images that this call has computed; 0 if everything was in place.
        rejects: items that are not in the output: ``key``, ``name`` (the position in the split, as ``00000042``),
            ``reason``, and ``error`` (the exception's text).
        manifest: the content of ``manifest.json``.
    """

    out: Any
    variants: dict[str, Any]
    splits: dict[str, int]
    classes: list[str]
    built: int
    rejects: list[dict[str, Any]]
    manifest: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        splits = ", ".join(f"{split} {count:,}" for split, count in self.splits.items())
        rejected = f", {len(self.rejects):,} items rejected" if self.rejects else ""
        return f"{self.out}: {', '.join(self.variants)} of {splits} images{rejected}"


@dataclass(frozen=True)
class RepairedDataset:
    """What a repair did.

    Attributes:
        repaired: files that were rebuilt, relative to the output.
        left: files that are still wrong, each with the reason; empty if the output is correct.
    """

    repaired: list[str]
    left: dict[str, str]


def build_dataset(
    dataset: Any,
    out: "str | PathLike[str]",
    ranks: Iterable[int] | int | None = None,
    *,
    image_key: str | int | None = None,
    label_key: str | int | None = None,
    classes: "Sequence[str] | str | PathLike[str] | None" = None,
    **options: Any,
) -> BuiltDataset:
    """Builds an output from a dataset object. The same call resumes it, and extends it by more ranks.

    The dataset is read twice, in this process: once for its digest, and once to compute its images. So items must be the
    same each time: give a dataset without random transforms.

    Args:
        dataset: ``len(dataset)``, and ``dataset[i]`` is (image, label) or a dict: of torchvision, Hugging Face datasets, or
            your own. A dict of such datasets has several splits, as in ``{"train": train, "test": test}``. Images are PIL
            images, uint8 arrays (h, w, 3) or (h, w), or uint8 tensors (3, h, w). Labels are whole numbers or class names.
        out: folder of the output, ``s3://`` or ``gs://``.
        ranks: the ranks to cut at.
        image_key, label_key: keys of dicts, or positions in tuples of more than two. Default: from the features of a Hugging
            Face dataset, or from the types of the values.
        classes: class names, position = label; or a file of names; or ``"imagenet"``. Default: those of the dataset. If the
            dataset names its classes, they are found in the list by name.
        options: those of ``python -m pipeline.build``, with underscores: ``components``, ``bands``, ``resize``, ``name``
            (default: the name of the folder), ``quiet`` and so on.

    Raises:
        pipeline.errors.PipelineError: the build could not be finished; the message is one line. ``UsageError``, one kind of
            it: a wrong argument, or a dataset that is none.
        KeyboardInterrupt: the same call continues.
    """
    from pipeline.execution import run
    from pipeline.execution.reporting import summary
    from pipeline.sources.objects.source import DatasetObject

    job = _job(out, {"ranks": ranks} | options)
    source = DatasetObject(dataset, image_key, label_key, _plain_classes(classes))
    outcome = run.build(job, source=source)
    built = _built(job, outcome, source)
    if len(built.rejects) > job.max_rejects and not job.quiet:
        console.tell(summary.rejects(job, len(built.rejects)))
    return built


def repair_dataset(
    dataset: Any,
    out: "str | PathLike[str]",
    *,
    image_key: str | int | None = None,
    label_key: str | int | None = None,
    classes: "Sequence[str] | str | PathLike[str] | None" = None,
    stall: int = 120,
) -> RepairedDataset:
    """Verifies an output of ``build_dataset``, and rebuilds the files that are damaged or missing, and no others.

    Args: as for ``build_dataset``; the ranks and other options are those of the output.

    Raises:
        pipeline.errors.PipelineError: the dataset is not the one of the output, or its manifest is damaged.
    """
    from pipeline.repair import repair_output
    from pipeline.sources.objects.source import DatasetObject

    source = DatasetObject(dataset, image_key, label_key, _plain_classes(classes))
    options = argparse.Namespace(
        out=Path(out),
        report=None,
        source=None,
        allow_unverified=False,
        image_key=None,
        label_key=None,
        classes=None,
        workers=0,
        stall=stall,
    )
    return RepairedDataset(*repair_output(options, source))


def _job(out: "str | PathLike[str]", options: Mapping[str, Any]) -> "Job":
    """Returns the job of a call. Raises UsageError."""
    from pipeline.planning.job import Job
    from pipeline.sources import OBJECT

    raw: dict[str, Any] = {"out": str(out)}
    for name, value in options.items():
        option = name.replace("_", "-")
        if option in _REFUSED:
            raise UsageError(f"{name}: {_REFUSED[option]}")
        if value is not None:
            raw[option] = _raw(value)
    named = "name" in raw
    raw.setdefault("name", str(out).rstrip("/").rpartition("/")[2])
    try:
        return replace(Job.parse(raw), dataset=OBJECT, workers=0)
    except UsageError as error:
        if named or not str(error).startswith("name: "):
            raise
        raise UsageError(f"{error}; out= has no such name, so give name=") from None


def _raw(value: Any) -> Any:
    """Returns a Python value as a job file would have it: lists for sequences, ``3:5`` for the pair of a band."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, Iterable):
        items = [*value]
        return [":".join(map(str, item)) if isinstance(item, tuple | list) else _raw(item) for item in items]
    return value


def _plain_classes(classes: Any) -> Any:
    return str(classes) if isinstance(classes, PathLike) else classes


def _built(job: "Job", outcome: "Outcome", source: "DatasetObject") -> BuiltDataset:
    from pipeline.planning.manifest import REJECTS
    from pipeline.storage.store import open_store

    manifest = outcome.manifest
    errors = {f"{split}-{i:08d}": text for (split, i), text in source.faults.items()}
    lines = (open_store(job.out).read(REJECTS) or b"").decode().splitlines()
    rejects = [json.loads(line) for line in lines]
    root = job.out if isinstance(job.out, Path) else None
    folders = {name: variant["folder"] for name, variant in manifest["variants"].items()}
    return BuiltDataset(
        out=job.out,
        variants={name: root / path if root else f"{job.out}/{path}" for name, path in folders.items()},
        splits={split: counts["samples"] for split, counts in manifest["splits"].items()},
        classes=list(manifest["classes"]),
        built=outcome.images,
        rejects=[reject | {"error": errors.get(reject["key"], reject["reason"])} for reject in rejects],
        manifest=manifest,
    )
