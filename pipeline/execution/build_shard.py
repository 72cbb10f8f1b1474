"""Builds one shard, from its source images to committed files.

A shard is a pure function of its task: its bytes do not depend on the process that builds it, or on how its images are
divided into batches.
"""

import errno
import functools
import hashlib
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.execution.failure import Failure, WorkerDied
from pipeline.execution.stages import encode_batches
from pipeline.formats import pixel_digest, spectra
from pipeline.formats.tar import ShardWriter
from pipeline.formats.zarr_rows import RowWriter
from pipeline.numerics.batch import HERE, Place
from pipeline.numerics.statistics import Statistics
from pipeline.numerics.variants import Variant
from pipeline.planning.record import Record, VariantRecord, record_name
from pipeline.planning.shard_task import Progress, ShardTask
from pipeline.storage import files
from pipeline.storage.lock import LostLock
from pipeline.storage.store import PublishedFile, open_store

# Errors that do not go away by themselves.
_FINAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_FINAL |= {errno.EXDEV, errno.EISDIR, errno.ENOTDIR}  # another program put something else in the place of a file


class SourceChanged(Exception):
    """The images of a shard are not those that its existing variants were made from."""


def ignore(progress: Progress) -> None:
    """Does nothing: the default where nobody follows the progress of a shard."""


def try_build_shard(
    task: ShardTask, place: Place = HERE, report: Callable[[Progress], None] = ignore
) -> Progress | Failure:
    """Builds a shard. Returns a failure as a value, which can be sent between processes.

    Args: as for ``build_shard``.
    """
    try:
        try:
            return build_shard(task, place, report)
        except SourceChanged:
            return build_shard(replace(task, tars=task.all_tars, kept=None), place, report)
    except OSError as error:
        name = error.filename2 or error.filename
        where = f" {name}" if name else ""
        message = f"shard {task.shard.name}:{where} {error.strerror or error}".strip()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "; free some space"
        return Failure(message, retryable=error.errno not in _FINAL)
    except LostLock:
        return Failure("another run has taken this output over; this one stops")
    except PipelineError as error:
        return Failure(str(error))
    except MemoryError:
        return WorkerDied(f"shard {task.shard.name}: out of memory; try fewer --workers", retryable=True)
    except Exception as error:  # a bug in this program; the user gets one line, and the traceback goes into a file
        return Failure(
            f"shard {task.shard.name}: unexpected {type(error).__name__}: {error}", details=traceback.format_exc()
        )


def build_shard(task: ShardTask, place: Place = HERE, report: Callable[[Progress], None] = ignore) -> Progress:
    """Computes, writes and commits one shard.

    Args:
        place: where its planes are computed.
        report: called at the beginning and after every batch, always with the same object.

    Raises:
        OSError: reading or writing failed. Another try may succeed, unless the disk is full.
        LostLock: another run owns the output now.
        SourceChanged: nothing was published; all variants of the shard have to be built.
        PipelineError: an image has another size than when it was indexed.
    """
    store, progress = open_store(task.root), Progress()
    scratch: dict[str, Path] = {}
    tars: dict[Variant, ShardWriter] = {}
    arrays: dict[str, RowWriter] = {}

    def scratch_for(name: str) -> Path:
        scratch[name] = store.scratch(task.run)
        return scratch[name]

    report(progress)
    try:
        tars.update({v: ShardWriter(scratch_for(name), v.form) for v, name in task.tars.items()})
        arrays.update(_row_writers(task, scratch_for))
        statistics, digests = dict.fromkeys(tars, Statistics()), dict.fromkeys(tars, 0)
        for encoded in place.overlap(encode_batches(task, tuple(tars), progress, place)):
            with progress.timed("write"):
                for variant, tar in tars.items():
                    tar.add(encoded.heads[variant.form], encoded.files[variant])
                    statistics[variant] += encoded.statistics[variant]
                    digests[variant] += encoded.digests[variant]
                for name, array in arrays.items():
                    array.add(encoded.batch.positions, encoded.rows[name])
            progress.images += len(encoded.batch.positions)
            progress.pixels += sum(image[0].size for image in encoded.batch.images)
            report(progress)
        with progress.timed("write"):
            variants = {}
            for variant, tar in tars.items():
                file, index = tar.finish(), task.tars[variant].removesuffix(".tar") + ".idx"
                variants[variant.name] = VariantRecord(
                    PublishedFile(task.tars[variant], file.size, file.sha256),
                    _write(index, file.dali_index, scratch_for(index)),
                    statistics[variant],
                    pixel_digest.to_text(digests[variant]),
                    versions(),
                )
            chunks = {name: array.finish() for name, array in arrays.items()}
            record = _record(task, progress, variants, chunks)
            store.publish(scratch, task.run)
            store.put(record_name(task.shard), record.to_json(), task.run)
    finally:
        for tar in tars.values():
            tar.close()
        for array in arrays.values():
            array.close()
        for path in scratch.values():
            path.unlink(missing_ok=True)
    return progress


def _row_writers(task: ShardTask, scratch_for: Callable[[str], Path]) -> dict[str, RowWriter]:
    split, rows = task.shard.split, task.samples_per_shard
    arrays = {} if task.kept else {"spectra": spectra.array(split, task.side, rows)}
    if task.new_factors and task.shape:
        arrays |= task.new_factors.arrays(split, task.shape, rows)
    return {name: RowWriter(array, task.shard.start, task.shard.stop, scratch_for) for name, array in arrays.items()}


def _record(
    task: ShardTask,
    progress: Progress,
    variants: dict[str, VariantRecord],
    chunks: dict[str, tuple[PublishedFile, ...]],
) -> Record:
    """Returns the shard's record, with the files that this run built. Raises SourceChanged."""
    kept, rejects, source = task.kept, tuple(progress.rejects), progress.source.hex()
    if kept and (kept.source, kept.rejects) != (source, rejects):
        raise SourceChanged
    values = kept.spectra if kept else chunks.pop("spectra")
    factor_chunks = tuple(file for array in chunks.values() for file in array)
    return Record(
        task.identity,
        source,
        progress.images,
        progress.pixels,
        dict(sorted(progress.converted.items())),
        rejects,
        values,
        (kept.variants if kept else {}) | variants,
        factor_chunks or (kept.factors if kept else ()),
    )


def _write(name: str, data: bytes, path: Path) -> PublishedFile:
    files.write(path, data)
    return PublishedFile(name, len(data), hashlib.sha256(data).hexdigest())


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of the libraries that the bytes of an output depend on."""
    return {package: version(package) for package in ("numpy", "pillow", "numba")}
