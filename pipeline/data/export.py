"""Parts of an output as plain files: two npy arrays, or the tree of PNG files that torchvision's ImageFolder reads."""

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

CLASSES = "classes.txt"
_LONGEST = 200  # bytes of a folder's name; file systems take 255
_EVERY = 500  # images between two reports of progress

Progress = Callable[[int, int], None]


def export_npy(data: RankDataset, to: str | os.PathLike[str], progress: Progress = lambda done, all: None) -> Path:
    """Write ``images.npy``, ``labels.npy``, ``keys.txt`` (a line per image) and ``classes.txt`` (line = label) into ``to``.

    Images are uint8 (n, h, w, 3), float32 for ``-exact`` variants; labels int64 (n,). Memory does not grow with n.

    Args:
        data: what to write; transforms are left out.
        to: a new or an empty folder; it appears whole or not at all.
        progress: called with images done and all images.

    Returns:
        ``to``.

    Raises:
        UsageError: ``to`` holds files, or the images differ in size.
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
                    raise UsageError(f"data of {data.variant} was set to images of {image.shape}, not {shape}")
                file.write(image.data)
                _report(progress, i, len(data))
        np.save(unfinished / "labels.npy", np.array(data.targets, dtype="<i8"))
        with (unfinished / "keys.txt").open("w") as keys:
            keys.writelines(f"{data.key(i)}\n" for i in range(len(data)))
        _write_classes(unfinished / CLASSES, data.classes)
    return target


def export_folder(data: RankDataset, to: str | os.PathLike[str], progress: Progress = lambda done, all: None) -> Path:
    """Write ``<to>/<split>/<class>/<key>.png``, the stored PNG bytes unchanged, and ``classes.txt`` (line = label) beside.

    ImageFolder numbers classes by their sorted folder names. ``class_folders`` makes that the labels of the output; every
    class gets its folder, because a missing one would shift those behind it. Where a class has no image in the split,
    ImageFolder therefore needs ``allow_empty=True``.

    Args:
        to: as in ``export_npy``, but it is ``<to>/<split>`` that is new or empty: splits go side by side.

    Returns:
        ``<to>/<split>``.

    Raises:
        UsageError: ``<to>/<split>`` holds files, or the variant's images are not PNG.
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
    """A folder's name for each class, so that their sorted order is that of the labels.

    They are the classes' own names with what no file system takes replaced by ``_``, where these are distinct and sorted
    already (as in CIFAR); else each has its label before it, ``007_ship``.
    """
    names = [_safe(name) for name in classes]
    folded = [name.casefold() for name in names]  # some file systems do not tell cases apart
    if names == sorted(names) and len(set(folded)) == len(folded):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}_{name}" for label, name in enumerate(names)]


def _safe(name: str) -> str:
    """A class's name as one path component that every file system takes, and that is not hidden."""
    plain = "".join(c if c.isprintable() else "_" for c in name)
    plain = re.sub(r'[/\\:*?"<>|]', "_", plain).encode()[:_LONGEST].decode(errors="ignore").rstrip(" .")
    return re.sub(r"^[. ]+", lambda dots: "_" * len(dots[0]), plain) or "_"


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` at the end; it is called unfinished until then, and removed on failure."""
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
    """What has been written survives a loss of power; one call for many small files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.sync()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_head(file: io.BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def _write_classes(path: Path, classes: Sequence[str]) -> None:
    lines = "".join(" ".join(name.split()) + "\n" for name in classes)
    path.write_bytes(lines.encode("utf-8", "backslashreplace"))


def _report(progress: Progress, i: int, total: int) -> None:
    if (i + 1) % _EVERY == 0 or i + 1 == total:
        progress(i + 1, total)
