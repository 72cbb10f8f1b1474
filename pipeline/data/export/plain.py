"""Exports one variant of one split: as npy arrays, or as the folders of PNG files that torchvision's ImageFolder reads."""

import os
from pathlib import Path

import numpy as np

from pipeline.data.dataset import RankDataset
from pipeline.data.export.unfinished import (
    CLASSES,
    Progress,
    appearing,
    class_folders,
    report,
    silent,
    write_classes,
    write_head,
)
from pipeline.errors import UsageError


def export_npy(data: RankDataset, to: str | os.PathLike[str], progress: Progress = silent) -> Path:
    """Writes ``images.npy``, ``labels.npy``, ``keys.txt`` and ``classes.txt`` into the folder ``to``.

    Images are uint8 (n, h, w, 3), or float32 for ``-exact`` variants; labels are int64 (n,). ``keys.txt`` has a line per
    image, ``classes.txt`` a line per label. Memory does not grow with n.

    Args:
        data: the dataset; its transforms are not applied.
        to: a new or empty folder. It appears when it is complete, or not at all.
        progress: called with the number of images written and of all images.

    Returns:
        ``to``.

    Raises:
        UsageError: ``to`` is not empty, or the images differ in size.
        PipelineError: a sample cannot be read.
    """
    if data.part.shape is None:
        raise UsageError(f"--format npy: the images of {data.variant} differ in size; use --format folder")
    target = Path(to)
    with appearing(target) as unfinished:
        dtype = np.dtype("<f4" if data.part.form == "npy" else "u1")
        shape = (*data.part.shape, 3)
        with (unfinished / "images.npy").open("wb") as file:
            write_head(file, dtype, (len(data), *shape))
            for i in range(len(data)):
                image = np.ascontiguousarray(data.decode(i), dtype)
                if image.shape != shape:
                    raise UsageError(
                        f"data of {data.variant} was replaced by images of shape {image.shape}, not {shape}"
                    )
                file.write(image.data)
                report(progress, i, len(data))
        np.save(unfinished / "labels.npy", np.array(data.targets, dtype="<i8"))
        with (unfinished / "keys.txt").open("w") as keys:
            keys.writelines(f"{data.key(i)}\n" for i in range(len(data)))
        write_classes(unfinished / CLASSES, data.classes)
    return target


def export_folder(data: RankDataset, to: str | os.PathLike[str], progress: Progress = silent) -> Path:
    """Writes ``<to>/<split>/<class>/<key>.png`` with the stored PNG bytes, and ``<to>/<split>/classes.txt``.

    ImageFolder numbers classes by their sorted folder names; ``class_folders`` chooses names that sort in the order of the
    labels. Every class gets a folder, because a missing one would shift the labels after it. If a class has no image in the
    split, ImageFolder therefore needs ``allow_empty=True``.

    Args:
        data: the dataset; its transforms are not applied.
        to: parent of the new folder ``<to>/<split>``, which appears when it is complete, or not at all.
        progress: as in ``export_npy``.

    Returns:
        ``<to>/<split>``.

    Raises:
        UsageError: ``<to>/<split>`` is not empty, or the variant's images are not PNG.
        PipelineError: a sample cannot be read.
    """
    if data.part.form != "png":
        raise UsageError(f"--format folder writes PNG files, but {data.variant} holds float32; use --format npy")
    target = Path(to) / data.split
    with appearing(target) as unfinished:
        folders = [unfinished / name for name in class_folders(data.classes)]
        for folder in folders:
            folder.mkdir()
        for i, label in enumerate(data.targets):
            (folders[label] / f"{data.key(i)}.png").write_bytes(data.raw(i))
            report(progress, i, len(data))
        write_classes(unfinished / CLASSES, data.classes)
    return target
