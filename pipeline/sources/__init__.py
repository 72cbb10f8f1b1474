"""Datasets by name: ``open_source`` gives the source of one. Light to import; each source loads when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError, nearest

if TYPE_CHECKING:  # numpy and Pillow must not slow down --help
    from pipeline.sources.index import Source

DATASETS: tuple[str, ...] = ("sample", "cifar10", "cifar100", "folder")


def open_source(
    dataset: str,
    data_dir: Path | None = None,
    *,
    allow_unverified: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Source:
    """The source of a dataset, found on disk; CIFAR is unpacked or downloaded once if it must be.

    Args:
        dataset: one of ``DATASETS``.
        data_dir: where its files lie; required for ``folder``, refused for ``sample``.
        allow_unverified: read CIFAR files although their official checksum does not match.
        report: called with (bytes done, bytes in all) during a download; None writes progress to stderr.

    Raises:
        UsageError: unknown dataset, or a data directory where none or one is wanted.
        PipelineError: the data is missing, damaged, or cannot be downloaded.
    """
    if dataset == "sample":
        if data_dir is not None:
            raise UsageError("--data-dir does not go with --dataset sample: its photographs come with scikit-image")
        from pipeline.sources.sample import Sample

        return Sample()
    if dataset == "folder":
        if data_dir is None:
            raise UsageError("--dataset folder needs --data-dir, a folder with train/<class>/... or <class>/... in it")
        from pipeline.sources.folder import Folder

        return Folder(Path(os.path.abspath(data_dir)))  # workers have another current directory
    if dataset in ("cifar10", "cifar100"):
        from pipeline.sources.cifar import open_cifar

        return open_cifar(dataset, data_dir, allow_unverified=allow_unverified, report=report)
    raise UsageError(f"unknown dataset {dataset!r}{nearest(dataset, DATASETS)}; allowed: {', '.join(DATASETS)}")
