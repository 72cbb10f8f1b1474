"""Exports one variant of one split: as npy arrays, or as the folders of PNG files that torchvision's ImageFolder reads."""

import contextlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.dataset import RankDataset
from pipeline.errors import UsageError, one_line
from pipeline.storage.files import sync

CLASSES = "classes.txt"
_LONGEST = 200  # bytes of a folder's name; file systems allow 255
_EVERY = 500  # images between two reports of progress

Progress = Callable[[int, int], None]


def export_npy(data: RankDataset, to: str | os.PathLike[str], progress: Progress = lambda done, all: None) -> Path:
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
    with _appearing(target) as unfinished:
        dtype = np.dtype("<f4" if data.part.form == "npy" else "u1")
        shape = (*data.part.shape, 3)
        with (unfinished / "images.npy").open("wb") as file:
            _write_head(file, dtype, (len(data), *shape))
            for i in range(len(data)):
                image = np.ascontiguousarray(data.decode(i), dtype)
                if image.shape != shape:
                    raise UsageError(
                        f"data of {data.variant} was replaced by images of shape {image.shape}, not {shape}"
                    )
                file.write(image.data)
                _report(progress, i, len(data))
        np.save(unfinished / "labels.npy", np.array(data.targets, dtype="<i8"))
        with (unfinished / "keys.txt").open("w") as keys:
            keys.writelines(f"{data.key(i)}\n" for i in range(len(data)))
        _write_classes(unfinished / CLASSES, data.classes)
    return target


def export_folder(data: RankDataset, to: str | os.PathLike[str], progress: Progress = lambda done, all: None) -> Path:
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
    with _appearing(target) as unfinished:
        folders = [unfinished / name for name in class_folders(data.classes)]
        for folder in folders:
            folder.mkdir()
        for i, label in enumerate(data.targets):
            (folders[label] / f"{data.key(i)}.png").write_bytes(data.raw(i))
            _report(progress, i, len(data))
        _write_classes(unfinished / CLASSES, data.classes)
    return target


def class_folders(classes: Sequence[str]) -> list[str]:
    """Returns a folder name for each class, such that the sorted names are in the order of the labels.

    Characters that a file system may refuse are replaced by ``_``. If the resulting names are not distinct and sorted, each
    gets its label as a prefix: ``007_ship``.
    """
    names = [_safe(name) for name in classes]
    folded = [name.casefold() for name in names]  # some file systems ignore case
    if names == sorted(names) and len(set(folded)) == len(folded):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}_{name}" for label, name in enumerate(names)]


def _safe(name: str) -> str:
    """Returns a class name as a path component that every file system accepts and that is not hidden."""
    plain = "".join(c if c.isprintable() else "_" for c in name)
    plain = re.sub(r'[/\\:*?"<>|]', "_", plain).encode()[:_LONGEST].decode(errors="ignore").rstrip(" .")
    return re.sub(r"^[. ]+", lambda dots: "_" * len(dots[0]), plain) or "_"


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill. It is renamed to ``target`` at the end, and removed on failure."""
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UsageError(f"--to: {one_line(target)} is not empty; name a new folder")
    unfinished = target.parent / f".{target.name}.unfinished-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Makes the written files survive a power failure, by one call for many small files."""
    os.sync()
    sync(folder)


def _write_head(file: io.BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def _write_classes(path: Path, classes: Sequence[str]) -> None:
    lines = "".join(" ".join(name.split()) + "\n" for name in classes)
    path.write_bytes(lines.encode("utf-8", "backslashreplace"))


def _report(progress: Progress, i: int, total: int) -> None:
    if (i + 1) % _EVERY == 0 or i + 1 == total:
        progress(i + 1, total)
