"""Reads the labels of ImageNet's validation images from the devkit, a list of synsets, or Kaggle's table."""

import csv
import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from pipeline.errors import PipelineError, one_line
from pipeline.sources.imagenet.meta import read_synsets
from pipeline.storage.pointers import pointer, pointer_at

DEVKIT = "ILSVRC2012_devkit_t12"
LIST = "imagenet_2012_validation_synset_labels.txt"
TABLE = "LOC_val_solution.csv"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_META = "data/meta.mat"
_LARGEST = 16 << 20  # bytes of a file; the largest official one has 5 million
_UNPACKED = 4 * _LARGEST  # bytes of the devkit
_MOST = 100_000  # labels, twice the number of images


T = TypeVar("T")


class Labels(NamedTuple):
    """Synsets by file name (``ILSVRC2012_val_00000001.JPEG``), and the file that they were read from."""

    synsets: dict[str, str]
    file: Path


def find_labels(folders: Sequence[Path], images: str, synsets: Collection[str]) -> Labels:
    """Returns the labels from the first of ``folders`` that has any.

    In a folder, the devkit has priority (``ILSVRC2012_devkit_t12.tar.gz``, or unpacked), then a list of one synset per
    line in the images' order (``imagenet_2012_validation_synset_labels.txt``), then ``LOC_val_solution.csv``.

    Args:
        images: the folder or archive of the images, for errors.
        synsets: the official ones.

    Raises:
        PipelineError: there are no labels, or they are damaged, or they name another synset.
    """
    for folder in folders:
        for name, read in _FORMS.items():
            path = folder / name
            if not path.is_file():
                continue
            labels = read(path)
            for image, synset in labels.items():
                if synset not in synsets:
                    raise PipelineError(
                        f"{path} gives {one_line(image)} the synset {synset[:40]!r}, which is none of the "
                        f"{len(synsets):,} of ILSVRC 2012"
                    )
            return Labels(labels, path)
    raise PipelineError(
        f"{images} holds validation images, but their labels are missing: put {DEVKIT}.tar.gz, {LIST} or {TABLE} "
        f"into {folders[0]}"
    )


def _archive(path: Path) -> dict[str, str]:
    """Reads the devkit as downloaded."""
    members: dict[str, bytes] = {}
    try:
        if fault := pointer_at(path):
            raise PipelineError(f"{path} is {fault}")
        with gzip.open(path) as file:
            content = file.read(_UNPACKED + 1)
        if len(content) > _UNPACKED:
            raise PipelineError(f"{path} unpacks to far more than the official devkit: get it again")
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                if not member.isreg() or member.issparse():  # a few bytes of a sparse file may stand for any number
                    continue
                for name in (_TRUTH, _META):
                    if member.name.removeprefix("./") in (name, f"{DEVKIT}/{name}"):
                        source = tar.extractfile(member)
                        members[name] = source.read() if source else b""
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError) as error:
        raise PipelineError(f"{path} cannot be unpacked ({one_line(error)}): get it again") from None
    for name in (_TRUTH, _META):
        if name not in members:
            raise PipelineError(f"{path} lacks {name}: it is not the devkit of tasks 1 and 2; get it again")
    return _truth(members[_TRUTH], members[_META], f"{_TRUTH} in {path}", f"{_META} in {path}")


def _folder(path: Path) -> dict[str, str]:
    """Reads the files of the unpacked devkit."""
    meta = path.parent / "meta.mat"
    if not meta.is_file():
        raise PipelineError(f"{meta} is missing: it says which synsets the numbers in {path.name} are")
    return _truth(_read(path), _read(meta), str(path), str(meta))


def _truth(truth: bytes, meta: bytes, truth_name: str, meta_name: str) -> dict[str, str]:
    by_number = read_synsets(meta, meta_name)
    synsets = []
    for number, word in enumerate(_few(truth.split(None, _MOST), truth_name), 1):
        synset = by_number.get(int(word)) if word.isdigit() and len(word) < 10 else None
        if synset is None:
            raise PipelineError(
                f"{truth_name}: line {number} is {word[:20].decode(errors='replace')!r}, not a class of the devkit"
            )
        synsets.append(synset)
    return _in_order(synsets)


def _list(path: Path) -> dict[str, str]:
    return _in_order(_few(_read(path).decode(errors="replace").split(None, _MOST), str(path)))


def _few(words: list[T], name: str) -> list[T]:
    if len(words) > _MOST:
        raise PipelineError(
            f"{name} has more than {_MOST:,} lines, which is far more than the official file: get it again"
        )
    return words


def _in_order(synsets: list[str]) -> dict[str, str]:
    return {f"ILSVRC2012_val_{number:08d}.JPEG": synset for number, synset in enumerate(synsets, 1)}


def _table(path: Path) -> dict[str, str]:
    """Reads rows ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``: the synset and its boxes."""
    try:
        rows = list(islice(csv.reader(io.StringIO(_read(path).decode(errors="replace"))), _MOST + 1))
    except csv.Error as error:
        raise PipelineError(f"{path} is not a table ({error}): get it again") from None
    if not rows or rows[0] != ["ImageId", "PredictionString"]:
        raise PipelineError(f"{path} does not begin with the line ImageId,PredictionString: it is not Kaggle's table")
    labels = {}
    for number, row in enumerate(_few(rows, str(path))[1:], 2):
        if len(row) != 2 or not row[1].split():
            raise PipelineError(f"{path}: row {number} is not an image and its synset; get it again")
        labels[f"{row[0]}.JPEG"] = row[1].split()[0]
    return labels


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise PipelineError(f"{path} is far larger than the official file: get it again")
    if fault := pointer(content):
        raise PipelineError(f"{path} is {fault}")
    return content


_FORMS: dict[str, Callable[[Path], dict[str, str]]] = {
    f"{DEVKIT}.tar.gz": _archive,
    f"{DEVKIT}/{_TRUTH}": _folder,
    _TRUTH: _folder,
    LIST: _list,
    TABLE: _table,
}
