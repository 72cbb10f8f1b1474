"""Measures planning at ImageNet's size: archives of 1,331,167 empty images, up to the first shard and after the last."""

import contextlib
import shutil
import statistics
import sys
import tarfile
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import numpy as np

from bench import commands
from pipeline.execution import run, scheduler
from pipeline.formats import spectra
from pipeline.numerics.statistics import Statistics
from pipeline.planning.job import Job
from pipeline.planning.record import Record, VariantRecord, record_name
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.sources.imagenet.manifest import load
from pipeline.storage.store import PublishedFile, open_store

_BLOCK = 512
_SIZE = 1000  # bytes of an image. The headers of 2 GB fit the page cache, so that the disk is not measured.


def measure(scratch: Path, rounds: int, scale: int) -> None:
    """Prints seconds and peak memory of the driver. Each step is a process of its own, imports included."""
    data, out = make_archives(scratch / "imagenet", scale), scratch / "planned"
    rows: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        cache = scratch / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        for step in ("first time", "later", "finish", "resume a finished build"):
            rows.setdefault(step, []).append(
                commands.run(["bench.planning", step, str(data), str(out)], {"XDG_CACHE_HOME": str(cache)})
            )
            if step in ("first time", "later"):
                shutil.rmtree(out)
        shutil.rmtree(out)
    print(f"\nPlanning {1_331_167 // scale:,} entries of ImageNet, whole processes ({rounds} rounds, medians)")
    for step, measured in rows.items():
        seconds, memory = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"  {step:24}{seconds:6.1f} s{memory:8.0f} MB at most")


def make_archives(folder: Path, scale: int = 1) -> Path:
    """Makes the two official archives and the list of labels, with ``1 / scale`` of the images, all empty."""
    manifest = load()
    folder.mkdir(parents=True)
    synsets = list(manifest.synsets)
    each = -(-manifest.images["train"] // scale // len(synsets))
    with open(folder / manifest.archives["train"].file, "wb") as file:
        for synset in synsets:
            size = each * (_BLOCK + _padded(_SIZE)) + 2 * _BLOCK
            file.write(_header(f"{synset}.tar", size))
            _write_images(file, f"{synset}_", ".JPEG", each)
        file.write(bytes(2 * _BLOCK))
    count = manifest.images["val"] // scale
    with open(folder / manifest.archives["val"].file, "wb") as file:
        _write_images(file, "ILSVRC2012_val_", ".JPEG", count)
    labels = "\n".join(synsets[i % len(synsets)] for i in range(count))
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text(labels)
    return folder


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _write_images(file: BinaryIO, prefix: str, suffix: str, count: int) -> None:
    """Writes members ``<prefix>00000001<suffix>`` and the end mark. Their content is zeros."""
    header = np.frombuffer(_header(f"{prefix}00000000{suffix}", _SIZE), np.uint8).copy()
    for number in range(1, count + 1):
        header[len(prefix) : len(prefix) + 8] = np.frombuffer(f"{number:08d}".encode(), np.uint8)
        header[148:156] = np.frombuffer(b" " * 8, np.uint8)
        header[148:156] = np.frombuffer(f"{int(header.sum()):06o}\0 ".encode(), np.uint8)
        file.write(header.tobytes())
        file.seek(_padded(_SIZE), 1)
    file.write(bytes(2 * _BLOCK))


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


class _Planned(Exception):
    """All shards are planned, and the first may begin."""


def _step(step: str, data: str, out: str) -> None:
    """Runs a build whose shards are not built, or are only pretended."""
    job = Job.parse({"dataset": "imagenet", "data-dir": data, "ranks": "50", "out": out, "quiet": True, "workers": 2})

    def stop(*_: object) -> None:
        raise _Planned

    def pretend(tasks: list[ShardTask], _: object, listener: Any) -> None:
        for task in tasks:
            _pretend(task)
            listener.built(task, Progress(images=len(task.entries)))

    with (
        mock.patch.object(scheduler, "run", side_effect=pretend if step == "finish" else stop),
        contextlib.suppress(_Planned),
    ):
        run.build(job)


def _pretend(task: ShardTask) -> None:
    """Publishes empty files and a record of a shard, as if it were built."""
    store = open_store(task.root)
    rows = spectra.array(task.shard.split, task.side, task.samples_per_shard).chunks(task.shard.start, task.shard.stop)
    indexes = {tar: tar.removesuffix(".tar") + ".idx" for tar in task.tars.values()}
    files = {name: PublishedFile(name, 0, "0" * 64) for name in (*rows, *indexes, *indexes.values())}
    store.put_all(dict.fromkeys(files, b""), task.run)
    variants = {
        variant.name: VariantRecord(files[tar], files[indexes[tar]], Statistics(), "0" * 32, {})
        for variant, tar in task.tars.items()
    }
    count = len(task.entries)
    spectra_files = tuple(files[name] for name in rows)
    record = Record(task.identity, "0" * 64, count, count, {}, (), spectra_files, variants)
    store.put(record_name(task.shard), record.to_json(), task.run)


if __name__ == "__main__":
    _step(*sys.argv[1:])
