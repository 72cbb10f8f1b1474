"""Unpacks the batch files of an official archive: after a check of the archive, and all of them or none."""

import os
import shutil
import tarfile
import zlib
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.cifar.manifest import Layout
from pipeline.sources.download import md5_of
from pipeline.storage.pointers import pointer_at


def unpack(archive: Path, layout: Layout, target: Path) -> Path:
    """Returns the folder ``target/<layout's folder>`` with the batch files of an archive. Unpacks them if they are missing.

    Raises:
        PipelineError: it is not the official archive (then it is not opened), or the files cannot be written.
    """
    _check(archive, layout)
    folder = target / layout.folder
    if _complete(folder, layout):
        return folder
    fresh = target / f"{layout.folder}.part-{os.getpid()}"
    try:
        fresh.mkdir(parents=True)
        _extract(archive, layout, fresh)
        _publish(fresh, folder, layout)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise PipelineError(f"{archive} cannot be unpacked: {error}") from None
    except OSError as error:
        raise PipelineError(f"{archive} cannot be unpacked into {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _check(archive: Path, layout: Layout) -> None:
    official = layout.archive
    try:
        size = archive.stat().st_size
        md5 = md5_of(archive) if size == official.bytes else ""
    except OSError as error:
        raise PipelineError(f"{archive} cannot be read: {error.strerror}") from None
    if fault := pointer_at(archive):
        raise PipelineError(f"{archive} is {fault}")
    if size < official.bytes:
        raise PipelineError(f"{archive} is half-downloaded: {size:,} of {official.bytes:,} bytes; get it again")
    if md5 != official.md5:
        actual, expected = (f"MD5 {md5}", official.md5) if md5 else (f"{size:,} bytes", f"{official.bytes:,}")
        raise PipelineError(
            f"{archive} has {actual}, the official archive {expected}: get it again, or unpack it yourself and give "
            "--data-dir the folder, with --allow-unverified"
        )


def _extract(archive: Path, layout: Layout, fresh: Path) -> None:
    expected = {f"{layout.folder}/{batch.file}": batch for batch in layout.files}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            batch = expected.get(member.name)
            if batch is None:
                continue
            source = tar.extractfile(member) if member.isreg() and member.size <= batch.largest else None
            if source is None:
                raise PipelineError(f"{archive}: {member.name} is no regular file of the official size")
            with source, open(fresh / batch.file, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            del expected[member.name]
    if expected:
        raise PipelineError(f"{archive} lacks {next(iter(expected))}")


def _publish(fresh: Path, folder: Path, layout: Layout) -> None:
    try:
        fresh.rename(folder)
    except OSError:
        if not _complete(folder, layout):  # else another process was faster
            raise PipelineError(f"{folder} is in the way and incomplete: remove it and run again") from None


def _complete(folder: Path, layout: Layout) -> bool:
    return all((folder / batch.file).is_file() for batch in layout.files)
