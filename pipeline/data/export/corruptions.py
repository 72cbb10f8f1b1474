"""Exports five variants as severities, in the layouts of CIFAR-10-C and ImageNet-C (Hendrycks and Dietterich, 2019)."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.dataset import RankDataset
from pipeline.data.export.severities import COUNT, severities
from pipeline.data.export.unfinished import Progress, appearing, class_folders, report, safe, silent, write_head
from pipeline.data.output import open_output
from pipeline.errors import PipelineError, UsageError, one_line

# Images of each severity, and their size: RobustBench reads the severity s from the image 10,000 (s - 1).
CIFAR_IMAGES, CIFAR_SHAPE = 10_000, (32, 32, 3)
_README = "README.txt"
_MAX_LINE = 1 << 16  # bytes of a line in samples/<split>.jsonl


def export_cifar_c(
    root: str | os.PathLike[str],
    to: str | os.PathLike[str],
    variants: Sequence[str] | None = None,
    split: str = "test",
    progress: Progress = silent,
) -> Path:
    """Writes ``<name>.npy`` of each corruption, ``labels.npy``, and ``README.txt``, in the layout of CIFAR-10-C.

    An array is uint8 (50000, 32, 32, 3): 10,000 images of severity 1, then of 2, ..., 5. Labels are int64 (50000,). The
    images of a severity are in the order of the source. ``README.txt`` says which variant each severity is. Memory does
    not grow with the number of images.

    Args:
        root: folder of the output.
        to: a new or empty folder. It appears when it is complete, or not at all. RobustBench wants the name ``CIFAR-10-C``.
        variants: see ``severities``.
        split: name of the split.
        progress: called with the number of images written and of all images.

    Returns:
        ``to``.

    Raises:
        UsageError: the split does not have 10,000 images of 32 x 32 pixels, ``to`` is not empty, or the variants are not as
            described in ``severities``.
        PipelineError: a sample cannot be read.
    """
    corruptions = severities(open_output(root), variants)
    data = {name: RankDataset(root, name, split) for names in corruptions.values() for name in names}
    first = next(iter(data.values()))
    if len(first) != CIFAR_IMAGES:
        raise UsageError(
            f"--format cifar-c: the split {first.split} has {len(first):,} images, not the {CIFAR_IMAGES:,} of a severity "
            "of CIFAR-10-C: choose the split test of a whole CIFAR"
        )
    shape = (*first.part.shape, 3) if first.part.shape else None
    if shape != CIFAR_SHAPE:
        size = f"{shape[0]} x {shape[1]} pixels" if shape else "different sizes"
        raise UsageError(f"--format cifar-c: the images have {size}, not the 32 x 32 of CIFAR-10-C")
    order = sorted(range(len(first)), key=first.key)
    target, total, written = Path(to), len(data) * len(first), 0
    with appearing(target) as unfinished:
        for name, names in corruptions.items():
            with (unfinished / f"{name}.npy").open("wb") as file:
                write_head(file, np.dtype("u1"), (COUNT * len(first), *CIFAR_SHAPE))
                for variant in names:
                    for i in order:
                        file.write(np.ascontiguousarray(_pixels(data[variant], i)).data)
                        report(progress, written, total)
                        written += 1
        labels = np.array(first.targets, dtype="<i8")[order]
        np.save(unfinished / "labels.npy", np.tile(labels, COUNT))
        (unfinished / _README).write_text(_legend(corruptions))
    return target


def _pixels(data: RankDataset, i: int) -> np.ndarray:
    pixels = np.asarray(data.decode(i))
    if pixels.shape != CIFAR_SHAPE:
        raise PipelineError(f"{data.variant}: sample {data.key(i)} is damaged: it has another size")
    return pixels


def export_imagenet_c(
    root: str | os.PathLike[str],
    to: str | os.PathLike[str],
    variants: Sequence[str] | None = None,
    split: str = "test",
    progress: Progress = silent,
) -> Path:
    """Writes ``<name>/<severity>/<class>/<file>`` and ``README.txt``, in the layout of ImageNet-C.

    Names of classes and files are those of the source: ``n01440764/ILSVRC2012_val_00000293.JPEG``. The files hold the stored
    PNG bytes; programs that decode by the content, such as Pillow, read them under any name.

    Args:
        root: folder of the output.
        to: a new or empty folder. It appears when it is complete, or not at all. RobustBench wants the name ``ImageNet-C``.
        variants: see ``severities``.
        split: name of the split; ``test`` is an alias of ``val`` and ``validation``.
        progress: called with the number of images written and of all images.

    Returns:
        ``to``.

    Raises:
        UsageError: two images of a class have the same file name, ``to`` is not empty, or the variants are not as described
            in ``severities``.
        PipelineError: a sample, or the list of original names, cannot be read.
    """
    corruptions = severities(open_output(root), variants)
    data = {name: RankDataset(root, name, split) for names in corruptions.values() for name in names}
    first = next(iter(data.values()))
    folders, files = _original_files(first)
    target, total, written = Path(to), len(data) * len(first), 0
    with appearing(target) as unfinished:
        for name, names in corruptions.items():
            for severity, variant in enumerate(names, 1):
                place = unfinished / name / str(severity)
                for folder in folders:
                    (place / folder).mkdir(parents=True)
                for i, label in enumerate(first.targets):
                    (place / folders[label] / files[i]).write_bytes(data[variant].raw(i))
                    report(progress, written, total)
                    written += 1
        (unfinished / _README).write_text(_legend(corruptions))
    return target


def _original_files(data: RankDataset) -> tuple[list[str], list[str]]:
    """Returns a folder for each class, and a file name for each sample, by their names in the source.

    A class has its folder in the source if its images are in one. Otherwise all classes have folders of ``class_folders``.
    """
    names = _original_names(data)
    parts = [names[data.key(i)].split("/") for i in range(len(data))]
    folders = dict(enumerate(class_folders(data.classes)))
    in_source = {(label, part[0]) for label, part in zip(data.targets, parts, strict=True) if len(part) > 1}
    own = {label: safe(folder) for label, folder in in_source}
    if len(own) == len(in_source) == len({*own.values()}) and all(len(part) > 1 for part in parts):
        folders |= own
    if len({*folders.values()}) < len(folders):
        folders = dict(enumerate(class_folders(data.classes)))
    files = [safe(part[-1]) for part in parts]
    places = set()
    for place in zip(data.targets, files, strict=True):
        if place in places:
            raise UsageError(
                f"--format imagenet-c: the class {one_line(data.classes[place[0]])} has two images called {place[1]}"
            )
        places.add(place)
    return list(folders.values()), files


def _original_names(data: RankDataset) -> dict[str, str]:
    """Returns the name in the source by key."""
    path = data.root / "samples" / f"{data.split}.jsonl"
    try:
        with path.open("rb") as file:
            rows = map(json.loads, iter(lambda: file.readline(_MAX_LINE), b""))
            names = {str(row["key"]): str(row["name"]) for row in rows}
        if not all(data.key(i) in names for i in range(len(data))):
            raise ValueError
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}; copy the output again, or build it again") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PipelineError(f"{path} does not name every sample; copy the output again, or build it again") from None
    return names


def _legend(corruptions: dict[str, tuple[str, ...]]) -> str:
    lines = [
        f"{name} {severity}: {names[severity - 1]}" for name, names in corruptions.items() for severity in range(1, 6)
    ]
    signed = "high_rank, high_pass and band are stored with an offset: grey level 128 means zero."
    return "\n".join(["Variant of each severity:", *lines, signed, ""])
