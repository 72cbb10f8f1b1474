"""A prefix in object storage through fsspec: the only module that knows s3fs, gcsfs and how their requests fail.

Every failure is an ``OSError`` with one line of text and the URL, or FileNotFoundError, or FileExistsError.
"""

import contextlib
import errno
import functools
import hashlib
import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.storage.location import protocol

_PART = 8 * 2**20  # bytes: larger files go up in parts of this size, and a worker's memory stays small
_PARTS_AT_ONCE = 4
_IMPATIENCE = 8.0  # seconds
_MODULES = {"s3": "s3fs", "gs": "gcsfs"}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
# Packages whose exceptions are those of a request.
_REQUESTS = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "fsspec", "requests", "ssl", "socket"}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
_EXISTS = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_NOT_KNOWN = {"NotImplemented", "MethodNotAllowed", "501"}


@dataclass(frozen=True)
class Bucket:
    """The objects below a URL such as ``s3://bucket/prefix``; names are relative to it.

    Attributes:
        patient: throttled and failed requests are tried again for about a minute. A first question is better asked
            with little patience: a wrong endpoint answers never.
    """

    url: str
    patient: bool = True

    def read(self, name: str) -> bytes:
        with self._errors(name) as files:
            in_one = {"max_concurrency": 1} if protocol(self.url) == "s3" else {}  # else a HEAD comes before the GET
            data: bytes = files.cat_file(self._path(name), **in_one)
            return data

    def sha256(self, name: str) -> str:
        with self._errors(name) as files, files.open(self._path(name), "rb", block_size=_PART) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, name: str, data: bytes) -> None:
        with self._errors(name) as files:
            files.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that nobody has written yet, where the server can tell; else as ``write``.

        Raises:
            FileExistsError: somebody has.
        """
        try:
            with self._errors(name) as files:
                files.pipe_file(self._path(name), data, mode="create")
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            self.write(name, data)

    def upload(self, file: Path, name: str) -> None:
        """Make a file an object by one completed upload: nobody sees a part of it."""
        with self._errors(name) as files:
            files.put_file(str(file), self._path(name), chunksize=_PART)

    def sizes(self, name: str = "") -> dict[str, int]:
        """Bytes of the object of that name and of all below it, by name: a request for each thousand."""
        every = {found: size for found, size in self._list(name, "") if size is not None}
        return {found: size for found, size in every.items() if not name or f"{found}/".startswith(f"{name}/")}

    def names(self, folder: str) -> list[str]:
        """Names of objects and folders in a folder, sorted."""
        start = f"{folder}/" if folder else ""
        return sorted({name.removeprefix(start).rstrip("/") for name, _ in self._list(start, "/")} - {""})

    def delete(self, names: list[str]) -> None:
        """Remove objects. Their absence is no error."""
        with self._errors(names[0] if names else "") as files:
            for start in range(0, len(names), 1000):
                with contextlib.suppress(FileNotFoundError):
                    files.rm([self._path(name) for name in names[start : start + 1000]])

    def abort_uploads(self) -> None:
        """Give up what dead processes have begun to upload and not completed: it costs, and nobody sees it."""
        if protocol(self.url) != "s3":
            return  # Google drops it by itself after a week
        try:
            self._abort_uploads()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.ENOSYS):
                raise

    def _abort_uploads(self) -> None:
        bucket, start = self._place("")
        with self._errors("") as files:
            found: dict[str, Any] = {}
            while True:
                after = {k: found[f"Next{k}"] for k in ("KeyMarker", "UploadIdMarker") if found.get(f"Next{k}")}
                found = files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=start, **after)
                for upload in found.get("Uploads", ()):
                    given = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    with contextlib.suppress(FileNotFoundError):
                        files.call_s3("abort_multipart_upload", **given)
                if not found.get("IsTruncated"):
                    return

    def _list(self, start: str, delimiter: str) -> Iterator[tuple[str, int | None]]:
        """Names that begin with ``start``, with bytes, or None for a folder."""
        bucket, prefix = self._place(start)
        root = len(self._place("")[1])
        with self._errors(start) as files:
            if protocol(self.url) != "s3":
                found = _google_list(files, f"{bucket}/{prefix}".rstrip("/"), delimiter, self.patient)
                yield from ((name[len(bucket) + 1 + root :], size) for name, size in found)
                return
            more: dict[str, str] = {}
            while True:  # s3fs's own ls would list the parent, too
                page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, **more)
                yield from ((each["Prefix"][root:], None) for each in page.get("CommonPrefixes", ()))
                yield from ((each["Key"][root:], each["Size"]) for each in page.get("Contents", ()))
                if not page.get("IsTruncated"):
                    return
                more = {"ContinuationToken": page["NextContinuationToken"]}

    def _place(self, name: str) -> tuple[str, str]:
        """Bucket and key."""
        bucket, _, prefix = self.url.partition("://")[2].partition("/")
        return bucket, f"{prefix}/{name}" if prefix else name

    def _path(self, name: str) -> str:
        return "/".join(self._place(name))

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[Any]:
        """Gives the file system, and translates its exceptions."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield _files(protocol(self.url), self.patient)
        except ImportError as error:
            kind = protocol(self.url)
            raise PipelineError(
                f"--out {self.url}: needs {_MODULES[kind]} ({error}); pip install 'rank-shards[{_EXTRAS[kind]}]'"
            ) from None
        except Exception as error:
            raise _translated(error, where) from None


def _google_list(files: Any, path: str, delimiter: str, patient: bool) -> list[tuple[str, int | None]]:
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    try:
        if delimiter:  # how often gcsfs tries cannot be told, but how long it may take
            found = sync(files.loop, files._ls, path, detail=True, timeout=None if patient else _IMPATIENCE)
        else:
            found = files.find(path, detail=True).values()
    except FileNotFoundError:
        if not files.exists(path.partition("/")[0]):
            raise OSError(errno.ENXIO, "there is no such bucket") from None
        return []
    return [(each["name"], None if each["type"] == "directory" else each["size"]) for each in found]


@functools.cache
def _files(protocol: str, patient: bool) -> Any:
    importlib.import_module(_MODULES[protocol])
    import fsspec  # type: ignore[import-untyped]

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol == "gs":
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # else it prints a traceback of what it also raises
    if protocol == "s3":
        tries = {"mode": "standard", "total_max_attempts": 8 if patient else 2}
        waits = {"connect_timeout": 10, "read_timeout": 60} if patient else {"connect_timeout": 3, "read_timeout": 4}
        options |= {"config_kwargs": {"retries": tries, **waits}, "max_concurrency": _PARTS_AT_ONCE}
    files = fsspec.filesystem(protocol, **options)
    if protocol == "s3":
        files.retries = 2 if patient else 1  # botocore's own come before, with longer waits
    return files


def _translated(error: Exception, where: str) -> Exception:
    """An exception of a request as an OSError; any other as it is."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:300]
    names = {kind.__name__ for kind in type(error).__mro__}
    if code == "NoSuchBucket":
        return OSError(errno.ENXIO, "there is no such bucket", where)
    if code in _EXISTS or isinstance(error, FileExistsError):
        return FileExistsError(errno.EEXIST, "somebody has written it already", where)
    if code in _NOT_KNOWN:
        return OSError(errno.ENOSYS, text, where)
    if names & _NO_CREDENTIALS:
        given = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if where.startswith("s3") else "gcloud auth"
        return PermissionError(errno.EACCES, f"no credentials found; set {given}, or a profile or role", where)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "No such file", where)
    if isinstance(error, PermissionError):
        return PermissionError(errno.EACCES, f"no permission ({code or 'refused'}: {text})", where)
    if isinstance(error, TimeoutError):
        return OSError(errno.ETIMEDOUT, "no answer in time", where)
    if isinstance(error, OSError):
        return OSError(error.errno or errno.EIO, f"{code}: {text}" if code else text, where)
    if type(error).__module__.partition(".")[0] in _REQUESTS or isinstance(error, ValueError):
        return OSError(errno.EIO, text or type(error).__name__, where)
    return error
