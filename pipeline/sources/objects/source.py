"""The source of dataset objects: any map-style datasets of (image, label), read in this process."""

import re
import time
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import xxhash

from pipeline.errors import PipelineError, Undecodable, UsageError, one_line
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.class_list import ClassList, images_per_class
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.objects.classes import class_list_of, class_names, label
from pipeline.sources.objects.items import Key, Keys, find_keys, label_of, part
from pipeline.sources.objects.pictures import picture_of
from pipeline.sources.splits import exact_split, in_order

_TWICE = 8  # items of each split that are read twice at once, to find a random transform before any work is done
_ATTEMPTS = 3
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class _Read(NamedTuple):
    """An item as it was read: the digest of its picture, its size, and its label.

    Attributes:
        fault: why it cannot be read; then there is nothing else.
        message: the message of the exception, for the user.
    """

    digest: int = 0
    height: int = 0
    width: int = 0
    label: int | str | None = None
    fault: str = ""
    message: str = ""

    def is_like(self, other: "_Read") -> bool:
        """Whether both reads gave the same item. Messages of an exception may differ, as by an address in memory."""
        return self._replace(message="") == other._replace(message="")


class DatasetObject:
    """Map-style datasets, by split: ``len(dataset)``, and ``dataset[i]`` is (image, label) or a dict.

    The index reads every item, and a build reads each one again. Items that differ then, as after a random transform, end
    the build. An item that raises an exception is a reject. Errors of disks and servers are tried again, and end the build.

    An entry's name is its position, as ``00000042``. Its file is its split.

    Args:
        dataset: a dataset, whose split is ``train`` or what a Hugging Face dataset says, or a dict of datasets by split.
        image_key, label_key: where items hold their image and label; None if the items show it.
        classes: names, a file of names, or ``imagenet``; None for the names of the dataset.

    Raises:
        UsageError: it is no map-style dataset, or the split is none.
    """

    default_geometry = NATIVE

    def __init__(
        self, dataset: Any, image_key: Key | None = None, label_key: Key | None = None, classes: Any = None
    ) -> None:
        self._datasets = _by_split(dataset)
        self._named = (image_key, label_key)
        self._classes = classes
        self._keys: Keys | None = None
        self._reads: dict[str, list[_Read]] = {}
        self.default_order = "source"

    def __reduce__(self) -> NoReturn:
        raise PipelineError("a dataset object is read in this process only, which has too little memory for its images")

    @property
    def faults(self) -> dict[tuple[str, int], str]:
        """The exceptions of items that cannot be read, as text, by split and position. Known after ``index``."""
        return {
            (split, i): read.message or read.fault
            for split, reads in self._reads.items()
            for i, read in enumerate(reads)
            if read.fault
        }

    def index(self) -> SourceIndex:
        """Reads every item.

        Raises:
            UsageError: an item is not an image with a label, or differs when it is read twice.
            PipelineError: no item can be read, a disk or server fails, or a class has no place in the class list.
        """
        listed: ClassList | None = class_list_of(self._classes)
        self._reads = {split: self._read_all(split) for split in self._datasets}
        if not any(read.height for reads in self._reads.values() for read in reads):
            split, first = next((split, reads[0]) for split, reads in self._reads.items() if reads)
            raise PipelineError(
                f"no item of the dataset can be read; the first, {split}[0]: {first.message or first.fault}"
            )
        assert self._keys
        own = class_names(self._datasets, self._keys.label)
        named = label({split: [read.label for read in reads] for split, reads in self._reads.items()}, own, listed)
        splits = {split: _split_index(split, reads, named.labels[split]) for split, reads in self._reads.items()}
        self.default_order = "shuffled" if all(map(_sorted_by_class, named.labels.values())) else "source"
        sizes = {(read.height, read.width) for reads in self._reads.values() for read in reads if read.height}
        faults = len(self.faults)
        counted = images_per_class(named.labels.values(), len(named.classes)) if named.listed else ""
        return SourceIndex(
            classes=named.classes,
            splits=splits,
            shape=sizes.pop() if len(sizes) == 1 else None,
            title="Dataset object",
            terms="The terms of the images in the dataset apply; they are not known to this program.",
            note=counted,
            checksums={split: _digest(reads) for split, reads in self._reads.items()},
            left_out=(f"items that cannot be read, which become rejects: {faults:,}",) if faults else (),
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the picture of an item as a PPM file, or the header of this file; b"!" and the reason for a fault.

        Raises:
            OSError: a disk or a server fails.
            PipelineError: the item differs from what the index has read.
        """
        before = self._reads[entry.file][entry.index]
        if most is not None:
            return b"" if before.fault else _header(before.height, before.width, "")
        now, picture = self._read(entry.file, entry.index)
        if not now.is_like(before):
            raise PipelineError(_differs(entry.file, entry.index))
        if picture is None:
            return b"!" + now.fault.encode()
        return _header(now.height, now.width, picture.converted) + picture.pixels.transpose(1, 2, 0).tobytes()

    def decode(self, raw: bytes) -> Picture:
        """Returns the picture that ``read`` returned. Raises Undecodable."""
        if raw[:1] == b"!":
            raise Undecodable(raw[1:].decode())
        match = re.match(rb"P6\n#([\w-]*)\n(\d+) (\d+)\n255\n", raw)
        assert match
        pixels = np.frombuffer(raw, np.uint8, offset=match.end()).reshape(int(match[3]), int(match[2]), 3)
        return Picture(pixels.transpose(2, 0, 1), match[1].decode())

    def _read_all(self, split: str) -> list[_Read]:
        """Reads the items of a split, the first ones twice."""
        count = _length(split, self._datasets[split])
        reads = []
        for i in range(count):
            read = self._patiently(split, i)
            if i < _TWICE and not self._patiently(split, i).is_like(read):
                raise UsageError(_differs(split, i))
            reads.append(read)
        return reads

    def _patiently(self, split: str, i: int) -> _Read:
        """Reads an item, several times if a disk or a server fails."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._read(split, i)[0]
            except OSError as error:
                if attempt == _ATTEMPTS:
                    raise PipelineError(
                        f"{split}[{i}] cannot be read: {_message(error)} (tried {_ATTEMPTS} times)"
                    ) from None
                time.sleep(attempt)
        raise AssertionError

    def _read(self, split: str, i: int) -> tuple[_Read, Picture | None]:
        """Reads an item. Raises OSError if a disk or a server fails, UsageError if the item is no image with a label."""
        dataset = self._datasets[split]
        try:
            item = dataset[i]
        except MemoryError:
            raise PipelineError(f"{split}[{i}] cannot be read: the memory is full") from None
        except Exception as error:  # of the user's code
            if isinstance(error, OSError) and not _of_content(error):
                raise
            return _Read(fault=f"the dataset raises {type(error).__name__}", message=_message(error)), None
        try:
            self._keys = self._keys or find_keys(dataset, item, *self._named)
            image, label_ = part(item, self._keys.image), label_of(part(item, self._keys.label))
            try:
                picture = picture_of(image)
            except Undecodable as error:
                return _Read(label=label_, fault=str(error)), None
            if not picture.pixels.size:
                return _Read(label=label_, fault="an image without pixels"), None
        except UsageError as error:
            place = "" if self._keys is None else f"{split}[{i}] "
            text = str(error)
            verb = "is " if text.startswith(("a ", "an ")) else ""
            raise UsageError(f"{place}{verb}{text}") from None
        height, width = picture.pixels.shape[1:]
        pixels: Any = np.ascontiguousarray(picture.pixels)
        digest = xxhash.xxh3_128_intdigest(pixels)
        return _Read(digest, height, width, label_), picture


def _by_split(dataset: Any) -> dict[str, Any]:
    """Returns the datasets by split, in the order in which they are built. Raises UsageError."""
    if isinstance(dataset, str | Path):
        raise UsageError(
            f"{one_line(dataset)} is a path, not a dataset: python -m pipeline.build reads folders and files"
        )
    if not isinstance(dataset, Mapping):
        return {exact_split(str(getattr(dataset, "split", None))) or "train": dataset}
    splits: dict[str, Any] = {}
    for name, of_split in dataset.items():
        split = exact_split(str(name))
        if split is None or split in splits:
            allowed = "train, val, validation and test"
            twice = f"{name!r} and another split are both {split}" if split else f"{name!r} is none"
            raise UsageError(f"splits of the dataset: {twice}; allowed, each once: {allowed}")
        splits[split] = of_split
    if not splits:
        raise UsageError("the dict of datasets is empty; give {'train': dataset}")
    return {split: splits[split] for split in in_order(splits)}


def _length(split: str, dataset: Any) -> int:
    """Returns the number of items. Raises UsageError for what is no map-style dataset, PipelineError if there are none."""
    try:
        if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
            raise TypeError
        count = len(dataset)
    except (TypeError, NotImplementedError):
        raise UsageError(
            f"{split} is a {type(dataset).__name__}, not a map-style dataset: it needs len(dataset) and dataset[i]"
        ) from None
    if not count:
        raise PipelineError(f"{split} of the dataset holds no images")
    return count


def _of_content(error: OSError) -> bool:
    """Returns whether an error is the item's own: its file is missing or damaged, and no disk or server fails."""
    if isinstance(error, ConnectionError | TimeoutError):
        return False
    return isinstance(error, _MISSING) or (
        error.errno is None and type(error).__module__.startswith(("builtins", "PIL"))
    )


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)[:200]}"


def _differs(split: str, i: int) -> str:
    return (
        f"{split}[{i}] differs when it is read twice, as after a random transform: give a dataset without random "
        "transforms, and transform the images when you train"
    )


def _header(height: int, width: int, converted: str) -> bytes:
    return f"P6\n#{converted}\n{width} {height}\n255\n".encode()


def _sorted_by_class(labels: np.ndarray) -> bool:
    return len(labels) > 0 and labels[0] < labels[-1] and bool((np.diff(labels) >= 0).all())


def _split_index(split: str, reads: list[_Read], labels: np.ndarray) -> SplitIndex:
    count = len(reads)
    return SplitIndex(
        names=(f"{i:08d}" for i in range(count)),
        labels=labels,
        files=[split],
        file_ids=np.zeros(count, np.int32),
        offsets=np.zeros(count, np.int64),
        sizes=np.array([3 * read.height * read.width for read in reads], np.int64),
    )


def _digest(reads: list[_Read]) -> str:
    """Returns the XXH3 of the sizes and pixels of all items, in their order, as 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    for read in reads:
        digest.update(b"%d %d %d %b\n" % (read.height, read.width, read.digest, read.fault.encode()))
    return digest.hexdigest()
