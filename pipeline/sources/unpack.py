"""An official archive into a folder: checked first, only the files that are known, all of them or nothing."""

import os
import shutil
import tarfile
import zlib
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.cifar.manifest import Layout
from pipeline.sources.download import md5_of


def unpack(archive: Path, layout: Layout, target: Path) -> Path:
    """The folder ``target/<layout's folder>`` with the batch files of an official archive; unpacked if it is not there.

    Raises:
        PipelineError: not the official archive (then nothing of it is opened), or no room or right to write.
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
    known = layout.archive
    try:
        size = archive.stat().st_size
        found = md5_of(archive) if size == known.bytes else ""
    except OSError as error:
        raise PipelineError(f"{archive} cannot be read: {error.strerror}") from None
    if size < known.bytes:
        raise PipelineError(f"{archive} is half-downloaded: {size:,} of {known.bytes:,} bytes; get it again")
    if found != known.md5:
        got, expected = (f"MD5 {found}", known.md5) if found else (f"{size:,} bytes", f"{known.bytes:,}")
        raise PipelineError(
            f"{archive} has {got}, the official archive {expected}: get it again, or unpack it yourself and give "
            "--data-dir the folder, with --allow-unverified"
        )


def _extract(archive: Path, layout: Layout, fresh: Path) -> None:
    wanted = {f"{layout.folder}/{known.file}": known for known in layout.files}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            known = wanted.get(member.name)
            if known is None:
                continue
            source = tar.extractfile(member) if member.isreg() and member.size <= known.largest else None
            if source is None:
                raise PipelineError(f"{archive}: {member.name} is no regular file of the official size")
            with source, open(fresh / known.file, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            del wanted[member.name]
    if wanted:
        raise PipelineError(f"{archive} lacks {next(iter(wanted))}")


def _publish(fresh: Path, folder: Path, layout: Layout) -> None:
    try:
        fresh.rename(folder)
    except OSError:
        if not _complete(folder, layout):  # else another process was quicker
            raise PipelineError(f"{folder} is in the way and incomplete: remove it and run again") from None


def _complete(folder: Path, layout: Layout) -> bool:
    return all((folder / known.file).is_file() for known in layout.files)
