"""CIFAR-10 and CIFAR-100, in both official layouts, pixel for pixel and in the official order."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.numerics.geometry import NATIVE
from pipeline.sources.cifar import manifest as cifar_manifest
from pipeline.sources.cifar.batch import Batch, read_batch
from pipeline.sources.cifar.locate import locate
from pipeline.sources.cifar.manifest import PIXELS, BatchFile, CifarManifest, Layout
from pipeline.sources.index import Entry, Picture, SourceIndex, SplitIndex
from pipeline.sources.ranges import read_range


def open_cifar(
    dataset: str,
    data_dir: Path | None,
    *,
    allow_unverified: bool = False,
    download: bool = True,
    report: Callable[[int, int], None] | None = None,
) -> "Cifar":
    """``cifar10`` or ``cifar100``, found, unpacked or downloaded. Arguments and errors as ``open_source``."""
    manifest = cifar_manifest.load(dataset)
    folder, layout = locate(manifest, data_dir, download=download, report=report)
    return Cifar(manifest, folder, layout, allow_unverified)


@dataclass(frozen=True)
class Cifar:
    """One layout of one dataset, in ``folder``.

    Both layouts give the same names (``data_batch_1/00042``), order, labels, checksums and so the same fingerprint.
    Pickles are opened in ``index`` alone: tasks read 3,072 bytes at an offset, in either layout.
    """

    manifest: CifarManifest
    folder: Path
    layout: Layout
    allow_unverified: bool = False
    default_order = "source"  # no annotation: the same for all, not a field
    default_geometry = NATIVE

    def index(self) -> SourceIndex:
        """Check and list every batch. Raises PipelineError as ``read_batch``."""
        classes = len(self.manifest.classes)
        batches = {
            known: read_batch(self.folder / known.file, known, self.layout, classes, self.allow_unverified)
            for known in self.layout.files
        }
        verified = all(batch.verified for batch in batches.values())
        return SourceIndex(
            classes=list(self.manifest.classes),
            splits={split: _split_index(split, batches) for split in ("train", "test")},
            shape=(32, 32),
            title=self.manifest.title,
            terms=self.manifest.terms,
            checksums={known.batch: batch.sha256 for known, batch in batches.items()},
            verified=verified,
        )

    def read(self, entry: Entry, most: int | None = None) -> bytes:
        """3,072 bytes, or the first of them. Raises OSError, also where the file has become shorter."""
        return read_range(os.path.join(self.folder, entry.file), entry.offset, min(most or entry.size, entry.size))

    def decode(self, raw: bytes) -> Picture:
        """32 x 32 pixels, a read-only view of ``raw``."""
        return Picture(np.frombuffer(raw, np.uint8).reshape(3, 32, 32))


def _split_index(split: str, batches: dict[BatchFile, Batch]) -> SplitIndex:
    parts = {known: batch for known, batch in batches.items() if known.split == split}
    counts = [known.images for known in parts]
    return SplitIndex(
        names=[f"{known.batch}/{row:05d}" for known in parts for row in range(known.images)],
        labels=np.concatenate([batch.labels for batch in parts.values()]),
        files=[known.file for known in parts],
        file_ids=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        offsets=np.concatenate([batch.offsets for batch in parts.values()]),
        sizes=np.full(sum(counts), PIXELS, np.int64),
    )
