"""The source of WebDataset shards: samples with an image and a label, read in place in the shards' own order."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.numerics.geometry import NATIVE
from pipeline.sources.class_list import MOST_UNNAMED, ClassList
from pipeline.sources.images import decode_image
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.saved_index import Columns, pack, saved, unpack
from pipeline.sources.tars.members import read_member
from pipeline.sources.webdataset.classes import read_classes
from pipeline.sources.webdataset.scan import scan_shard
from pipeline.sources.webdataset.shards import find_shards

_SCANS = 8  # shards at once: on a network file system a scan mostly waits
_HEADER_NAME = 90  # bytes; a member's header holds shorter ASCII keys whole, others may be in a header before it


@dataclass(frozen=True)
class WebDataset:
    """The shards that ``find_shards`` finds in ``root``.

    An entry's name is its sample's key. If several shards of a split hold the same key, the names of the split's entries are
    ``<shard without .tar>/<key>`` instead, and the note says so. A key that is twice in one shard is an error.

    Attributes:
        root: absolute.
        label_key: the field of the ``json`` member that holds the label. None: the ``cls`` member holds it.
        classes: a class list, as for ``read_class_list``. None: ``classnames.txt`` in ``root``, or else the numbers as text.
    """

    root: Path
    label_key: str | None = None
    classes: Path | None = None
    default_order = "source"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Lists every sample. Each shard is scanned once, later the saved index is used.

        Raises:
            PipelineError: there are no shards, a shard is damaged, a sample lacks one image and one label, or a label has no
                name.
        """
        located = find_shards(self.root)
        shards = located.splits
        named = read_classes(self.root, self.classes)
        paths = [self.root / shard for tars in shards.values() for shard in tars]
        columns = saved("webdataset", paths, f"label key {self.label_key!r}", lambda: _scan(paths, self.label_key))
        counts = columns["counts"]
        keys, ends = unpack(columns["keys"]), np.cumsum(counts)
        splits: dict[str, SplitIndex] = {}
        notes, first = [], 0
        for split, tars in shards.items():
            span = slice(int(ends[first - 1]) if first else 0, int(ends[first + len(tars) - 1]))
            files = np.repeat(np.arange(len(tars), dtype=np.int32), counts[first : first + len(tars)])
            names = keys[span]
            if len(set(names)) < len(names):
                again = Counter(names).most_common(1)[0][0]
                names = [f"{tars[file].removesuffix('.tar')}/{name}" for file, name in zip(files, names, strict=True)]
                notes.append(f"{split}: keys repeat over shards ({again}, ...), so that names begin with the shard's")
            labels = columns["labels"][span]
            _check_labels(self.root, tars, files, keys[span], labels, named)
            offsets, sizes = columns["offsets"][span], columns["sizes"][span]
            splits[split] = SplitIndex(names, labels.astype(np.int32), tars, files, offsets, sizes)
            first += len(tars)
        if not len(keys):
            raise PipelineError(f"{self.root}: its {len(paths)} shards hold no samples")
        return SourceIndex(
            classes=named.names if named else [str(label) for label in range(int(columns["labels"].max()) + 1)],
            splits=splits,
            shape=None,
            title="WebDataset shards",
            terms="The terms of the images in the shards apply; they are not known to this program.",
            note="; ".join([*located.left_out, *notes]),
            left_out=located.left_out,
            readings=(*located.readings, *_repeated(named)),
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns the image file, or its first bytes. Raises OSError, also if another member is now at its place."""
        key = os.fsencode(entry.name.rpartition("/")[2]) + b"."
        plain = len(os.fsencode(entry.name)) < _HEADER_NAME and entry.name.isascii()
        name = key if plain else b""
        return read_member(os.path.join(self.root, entry.file), entry.offset, entry.size, name, most)

    def decode(self, raw: bytes) -> Picture:
        """Decodes an image. Raises Undecodable."""
        return decode_image(raw)


def _scan(paths: list[Path], label_key: str | None) -> Columns:
    """Scans all shards. Returns ``counts`` int64 (shards,), and the fields of ``Samples`` for all samples."""
    with ThreadPoolExecutor(_SCANS) as pool:
        parts = list(pool.map(lambda path: scan_shard(path, label_key), paths))
    return {
        "keys": pack([key for part in parts for key in part.keys]),
        "labels": np.concatenate([part.labels for part in parts]),
        "offsets": np.concatenate([part.offsets for part in parts]),
        "sizes": np.concatenate([part.sizes for part in parts]),
        "counts": np.array([len(part.keys) for part in parts], np.int64),
    }


def _repeated(names: ClassList | None) -> list[str]:
    if names is None or not names.repeated:
        return []
    return [f"{names.origin} names {', '.join(names.repeated[:3])} several times, so that these carry their label"]


def _check_labels(
    root: Path,
    tars: list[str],
    files: np.ndarray,
    keys: list[str],
    labels: np.ndarray,
    named: ClassList | None,
) -> None:
    allowed = len(named.names) if named else MOST_UNNAMED
    wrong = np.flatnonzero(labels >= allowed)
    if len(wrong):
        number = int(wrong[0])
        sample = f"{root / tars[files[number]]}: sample {keys[number]!r} has the label {labels[number]}"
        if named:
            raise PipelineError(f"{sample}, but {named.origin} names {allowed:,} classes (labels 0 to {allowed - 1:,})")
        raise PipelineError(f"{sample}: so many classes must be named, by --classes")
