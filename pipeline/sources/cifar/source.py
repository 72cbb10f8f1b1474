"""The sources CIFAR-10 and CIFAR-100, in both official layouts, in the official order."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.numerics.geometry import NATIVE
from pipeline.sources.cifar import manifest as official
from pipeline.sources.cifar.batch import Batch, read_batch
from pipeline.sources.cifar.locate import locate
from pipeline.sources.cifar.manifest import PIXELS, BatchFile, CifarManifest, Layout
from pipeline.sources.download import Report
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_range


def open_cifar(
    dataset: str,
    data_dir: Path | None,
    *,
    allow_unverified: bool = False,
    download: bool | Report = True,
) -> "Cifar":
    """Finds, unpacks or downloads ``cifar10`` or ``cifar100``. Arguments and errors as in ``open_source``."""
    manifest = official.load(dataset)
    folder, layout = locate(manifest, data_dir, download=download)
    return Cifar(manifest, folder, layout, allow_unverified)


@dataclass(frozen=True)
class Cifar:
    """One layout of a dataset, in ``folder``.

    Both layouts have the same names (``data_batch_1/00042``), order, labels and checksums, and so the same fingerprint.
    Only ``index`` opens pickles. Tasks read 3,072 bytes at an offset, in either layout.
    """

    manifest: CifarManifest
    folder: Path
    layout: Layout
    allow_unverified: bool = False
    default_order = "source"  # without annotation: an attribute of the class, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Checks and lists every batch. Raises PipelineError as ``read_batch``."""
        classes = len(self.manifest.classes)
        batches = {
            file: read_batch(self.folder / file.file, file, self.layout, classes, self.allow_unverified)
            for file in self.layout.files
        }
        verified = all(batch.verified for batch in batches.values())
        return SourceIndex(
            classes=list(self.manifest.classes),
            splits={split: _split_index(split, batches) for split in ("train", "test")},
            shape=(32, 32),
            title=self.manifest.title,
            terms=self.manifest.terms,
            checksums={file.batch: batch.sha256 for file, batch in batches.items()},
            verified=verified,
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """Returns 3,072 bytes, or the first of them. Raises OSError, also if the file has become shorter."""
        return read_range(os.path.join(self.folder, entry.file), entry.offset, min(most or entry.size, entry.size))

    def decode(self, raw: bytes) -> Picture:
        """Returns 32 x 32 pixels, a read-only view of ``raw``."""
        return Picture(np.frombuffer(raw, np.uint8).reshape(3, 32, 32))


def _split_index(split: str, batches: dict[BatchFile, Batch]) -> SplitIndex:
    parts = {file: batch for file, batch in batches.items() if file.split == split}
    counts = [file.images for file in parts]
    return SplitIndex(
        names=[f"{file.batch}/{row:05d}" for file in parts for row in range(file.images)],
        labels=np.concatenate([batch.labels for batch in parts.values()]),
        files=[file.file for file in parts],
        file_ids=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        offsets=np.concatenate([batch.offsets for batch in parts.values()]),
        sizes=np.full(sum(counts), PIXELS, np.int64),
    )
