"""Opens the source of a dataset by its name. Cheap to import: each source is imported when it is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError, nearest

if TYPE_CHECKING:  # NumPy and Pillow must not slow down --help
    from pipeline.sources.index import Source

DATASETS: tuple[str, ...] = ("sample", "cifar10", "cifar100", "imagenet", "folder", "webdataset", "parquet", "arrays")
OBJECT = "object"  # of outputs that pipeline.build_dataset made: no command opens it
_TAKES = {
    "imagenet": "a folder with ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or train/<synset>/ and val/<synset>/",
    "folder": "a folder with train/<class>/... or <class>/... in it",
    "webdataset": "a folder with .tar shards in it",
    "parquet": "a folder with .parquet files in it",
    "arrays": "a folder with .npy files of images and labels in it, or an .npz file",
}
IN_FOLDERS = tuple(_TAKES)
"""Sources that are read from the user's own folder. They take a class list."""


def options_of_reading(dataset: str) -> str:
    """Returns the options that decide how the files of a source are read, in words; "" if it has none."""
    options = {"parquet": "--image-key, --label-key or --classes", "webdataset": "--label-key or --classes"}
    return options.get(dataset, "--classes" if dataset in IN_FOLDERS else "")


def open_source(
    dataset: str,
    data_dir: Path | None = None,
    *,
    allow_unverified: bool = False,
    image_key: str | None = None,
    label_key: str | None = None,
    classes: Path | None = None,
    download: bool | Callable[[int, int], None] = True,
) -> Source:
    """Opens the source of a dataset on disk. CIFAR is unpacked or downloaded once if necessary.

    Args:
        dataset: one of ``DATASETS``.
        data_dir: the folder of its files; refused for ``sample``, optional for CIFAR.
        allow_unverified: read CIFAR files even if they have not the official checksum.
        image_key: for ``parquet``: the column of images; None for the only one.
        label_key: for ``parquet``: the column of labels; None for the only one. For ``webdataset``: the field of a sample's
            json that is its label; None for its ``cls`` member.
        classes: for ``IN_FOLDERS``: a class list, as for ``class_list.read_class_list``.
        download: whether CIFAR and ``sample`` may be downloaded. True prints progress to stderr. A function
            is called with (bytes received, bytes in total) instead.

    Raises:
        UsageError: the dataset is unknown, an option does not go with it, or an option is missing.
        PipelineError: the data is missing, damaged, or cannot be downloaded.
    """
    if dataset != "parquet" and image_key is not None:
        raise UsageError("image-key: goes with --dataset parquet only, whose files may have several columns")
    if dataset not in ("webdataset", "parquet") and label_key is not None:
        raise UsageError("label-key: goes with --dataset webdataset and parquet only")
    if dataset in DATASETS and dataset not in IN_FOLDERS and classes is not None:
        raise UsageError(f"classes: goes with --dataset {', '.join(IN_FOLDERS)}; {dataset} has its own classes")
    if dataset in _TAKES and data_dir is None:
        raise UsageError(f"--dataset {dataset} needs --data-dir, {_TAKES[dataset]}")
    if dataset == "sample":
        if data_dir is not None:
            raise UsageError("--data-dir does not go with --dataset sample: it has its own photographs")
        from pipeline.sources.sample import open_sample

        return open_sample(download)
    if dataset == "imagenet" and data_dir is not None:
        from pipeline.sources.imagenet.source import open_imagenet

        return open_imagenet(data_dir, classes)
    if dataset == "webdataset" and data_dir is not None:
        from pipeline.sources.webdataset.source import WebDataset

        return WebDataset(Path(os.path.abspath(data_dir)), label_key, classes)
    if dataset == "parquet" and data_dir is not None:
        from pipeline.sources.parquet.source import Parquet

        return Parquet(Path(os.path.abspath(data_dir)), image_key, label_key, classes)
    if dataset == "arrays" and data_dir is not None:
        from pipeline.sources.arrays.source import open_arrays

        return open_arrays(Path(os.path.abspath(data_dir)), classes)
    if dataset == "folder" and data_dir is not None:
        from pipeline.sources.folder.source import Folder

        return Folder(Path(os.path.abspath(data_dir)), classes)  # workers have another current directory
    if dataset in ("cifar10", "cifar100"):
        from pipeline.sources.cifar.source import open_cifar

        return open_cifar(dataset, data_dir, allow_unverified=allow_unverified, download=download)
    raise UsageError(f"unknown dataset {dataset!r}{nearest(dataset, DATASETS)}; allowed: {', '.join(DATASETS)}")
