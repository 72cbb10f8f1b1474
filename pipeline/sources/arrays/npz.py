"""Opens .npz archives: arrays that are stored are read in place, compressed ones are unpacked into the cache once."""

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import PipelineError, one_line
from pipeline.sources.arrays.npy import Array, open_array
from pipeline.sources.cache import cache_folder
from pipeline.storage.files import regular_descriptor
from pipeline.storage.pointers import pointer_at

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,80}\.npy")
_END = b"PK\5\6"
_LARGEST_DIRECTORY = 1 << 20  # bytes; an entry takes about 60
_PIECE = 1 << 20
_LARGEST_RATIO = 100  # of the arrays to their archive
_HARMLESS = 1 << 28  # bytes that may be unpacked from any archive
_RESERVE = 1 << 28  # bytes that unpacking leaves free on the disk
_LOCAL = 30  # bytes of the fixed part of a member's header


def open_npz(path: Path) -> dict[str, Array]:
    """Returns the arrays of an archive, by name without ``.npy``.

    Raises:
        PipelineError: it is no archive, is damaged or encrypted, or its arrays cannot be unpacked.
    """
    if fault := pointer_at(path):
        raise PipelineError(f"{path} is {fault}")
    try:
        with open(regular_descriptor(path), "rb") as file:
            _check_end(path, file)
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if _NAME.fullmatch(info.filename)]
                members = {info.filename: info for info in infos}
                if len(members) < len(infos):
                    raise PipelineError(f"{path} holds two arrays of one name: save it again with numpy.savez")
                if encrypted := [info.filename for info in members.values() if info.flag_bits & 1]:
                    raise PipelineError(f"{path}: {encrypted[0]} is encrypted")
                if all(info.compress_type == zipfile.ZIP_STORED for info in members.values()):
                    return {name[:-4]: _stored(path, file, info) for name, info in members.items()}
                folder = _unpacked(path, archive, members)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError):
        raise PipelineError(f"{path} is damaged or cut off, or is no .npz archive: get it again") from None
    except OSError as error:
        raise PipelineError(f"{error.filename or path}: {error.strerror or 'it is damaged'}") from None
    return {name[:-4]: open_array(folder / name, f"{path}: {name}") for name in members}


def _check_end(path: Path, file: BinaryIO) -> None:
    """Raises PipelineError if an archive lists very many members: zipfile would make an object for each."""
    size = os.fstat(file.fileno()).st_size
    tail = os.pread(file.fileno(), 1 << 16, max(size - (1 << 16), 0))
    at = tail.rfind(_END)
    if at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > _LARGEST_DIRECTORY:
        raise PipelineError(f"{path} lists too many members: an archive of arrays has a few")


def _stored(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> Array:
    """Returns an array that is stored without compression."""
    head = os.pread(file.fileno(), _LOCAL, info.header_offset)
    if len(head) < _LOCAL or head[:4] != b"PK\3\4" or info.compress_size != info.file_size:
        raise zipfile.BadZipFile
    start = info.header_offset + _LOCAL + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    if start + info.file_size > os.fstat(file.fileno()).st_size:
        raise zipfile.BadZipFile
    return open_array(path, f"{path}: {info.filename}", start, info.file_size)


def _unpacked(path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> Path:
    """Returns the folder in the cache with the arrays of an archive. Unpacks them if they are missing."""
    status = path.stat()
    version = repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)).encode()
    place = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    cache = cache_folder("arrays")
    folder = cache / f"{place}-{hashlib.sha256(version).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    fresh = cache / f"{folder.name}.part-{os.getpid()}"
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        size = sum(info.file_size for info in members.values())
        if size > _LARGEST_RATIO * status.st_size + _HARMLESS:
            raise PipelineError(f"{path} unpacks to far more than images: {size:,} bytes")
        if (free := shutil.disk_usage(cache).free) < size + _RESERVE:
            raise PipelineError(
                f"{path} is compressed: its arrays take {size / 1e6:,.0f} MB in {cache}, where {free / 1e6:,.0f} MB are "
                "free; make room, or set XDG_CACHE_HOME"
            )
        for name, info in members.items():
            _unpack(archive, info, fresh / name)
        for old in cache.glob(f"{place}-*"):  # of earlier versions of the archive
            if old != fresh and ".part-" not in old.name:
                shutil.rmtree(old, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            reason = one_line(error.strerror or error)
            raise PipelineError(f"{path} cannot be unpacked into {cache}: {reason}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Writes a member to a file: at most the size that the archive says. Raises BadZipFile, also for a wrong CRC-32."""
    left = info.file_size
    with archive.open(info) as member, open(target, "wb") as file:
        while content := member.read(_PIECE):
            left -= len(content)
            if left < 0:
                raise zipfile.BadZipFile
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if left:
        raise zipfile.BadZipFile
