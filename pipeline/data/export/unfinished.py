"""What all exports share: a folder that appears when it is complete, class names, and progress."""

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

from pipeline.errors import UsageError, one_line
from pipeline.storage.files import sync

CLASSES = "classes.txt"
_LONGEST = 200  # bytes of a folder's name; file systems allow 255
_EVERY = 500  # images between two reports of progress

Progress = Callable[[int, int], None]


def silent(done: int, images: int) -> None:
    """Reports nothing."""


def class_folders(classes: Sequence[str]) -> list[str]:
    """Returns a folder name for each class, such that the sorted names are in the order of the labels.

    Characters that a file system may refuse are replaced by ``_``. If the resulting names are not distinct and sorted, each
    gets its label as a prefix: ``007_ship``.
    """
    names = [safe(name) for name in classes]
    folded = [name.casefold() for name in names]  # some file systems ignore case
    if names == sorted(names) and len(set(folded)) == len(folded):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}_{name}" for label, name in enumerate(names)]


def safe(name: str) -> str:
    """Returns a class name as a path component that every file system accepts and that is not hidden."""
    plain = "".join(c if c.isprintable() else "_" for c in name)
    plain = re.sub(r'[/\\:*?"<>|]', "_", plain).encode()[:_LONGEST].decode(errors="ignore").rstrip(" .")
    return re.sub(r"^[. ]+", lambda dots: "_" * len(dots[0]), plain) or "_"


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
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


def write_head(file: io.BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def write_classes(path: Path, classes: Sequence[str]) -> None:
    lines = "".join(" ".join(name.split()) + "\n" for name in classes)
    path.write_bytes(lines.encode("utf-8", "backslashreplace"))


def report(progress: Progress, i: int, total: int) -> None:
    if (i + 1) % _EVERY == 0 or i + 1 == total:
        progress(i + 1, total)
