"""The saved index of archives, an ``.npz`` file. Input that is not a zip file becomes one of its columns, with its key."""

import io
import os
import zipfile
from collections.abc import Iterator

import numpy as np

from pipeline.errors import PipelineError
from pipeline.sources.cache import cache_folder
from pipeline.sources.saved_index import pack, saved
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = False
_ARCHIVE = folder() / "archive.tar"


def _path() -> os.PathLike[str]:
    return next(cache_folder("fuzz").iterdir())


def _key() -> bytes:
    os.environ["XDG_CACHE_HOME"] = str(folder() / "cache")
    if not _ARCHIVE.exists():
        _ARCHIVE.write_bytes(b"an archive")
        saved("fuzz", [_ARCHIVE], "", lambda: {"names": pack(["a", "b"]), "sizes": np.arange(2)})
        with np.load(_path()) as file:
            _ARCHIVE.with_suffix(".key").write_bytes(file["key"].tobytes())
    return _ARCHIVE.with_suffix(".key").read_bytes()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(column: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("key.npy", _npy(np.frombuffer(_key(), np.uint8)))
        file.writestr("names.npy", column)
    return buffer.getvalue()


def seeds() -> Iterator[bytes]:
    yield _npz(_npy(pack(["a", "b"])))
    yield from (_npy(array) for array in (pack(["a"]), np.arange(3.0), np.zeros((2, 2), "S3"), np.array([1], object)))


def parse(data: bytes) -> None:
    _key()
    with open(_path(), "wb") as file:
        file.write(data if data[:2] == b"PK" else _npz(data))
    columns = saved("fuzz", [_ARCHIVE], "", lambda: {"names": pack(["scanned"])})
    assert all(isinstance(column, np.ndarray) and column.dtype != object for column in columns.values())
