"""A prefix in object storage, through fsspec. The only module that knows s3fs, gcsfs and their exceptions.

A failed request raises OSError, with one line of text and the URL; a missing object FileNotFoundError; a failed condition
FileExistsError.

obstore 0.12.1 does not replace them. Against moto's server, its conditional put and its upload of 40 MB in parts worked. But
it has no call that lists or aborts unfinished uploads, does not read the files and profiles of ~/.aws (only through boto3),
and raises one GenericError of 26 lines or more, the code only in its text, for a refusal, throttling or a missing bucket.
So boto3 would stay beside it, and so would the code below that aborts and translates.
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
from pipeline.extras import EXTRAS
from pipeline.storage.location import protocol

_PART = 8 * 2**20  # bytes: larger files are uploaded in parts, so that a worker's memory stays small
_PARTS_AT_ONCE = 4
_SHORT_TIMEOUT = 8.0  # seconds, without patience
_MODULES = {"s3": "s3fs", "gs": "gcsfs"}
# Packages whose exceptions mean that a request failed.
_REQUESTS = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "fsspec", "requests", "ssl", "socket"}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
_EXISTS = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_UNSUPPORTED = {"NotImplemented", "MethodNotAllowed", "501"}


@dataclass(frozen=True)
class Bucket:
    """The objects below a URL such as ``s3://bucket/prefix``; names are relative to it.

    Attributes:
        patient: whether throttled and failed requests are repeated for about a minute. The first request is better sent
            without: a wrong endpoint never answers.
    """

    url: str
    patient: bool = True

    def read(self, name: str) -> bytes:
        with self._errors(name) as files:
            options = (
                {"max_concurrency": 1} if protocol(self.url) == "s3" else {}
            )  # without it, s3fs sends a HEAD first
            data: bytes = files.cat_file(self._path(name), **options)
            return data

    def sha256(self, name: str) -> str:
        with self._errors(name) as files, files.open(self._path(name), "rb", block_size=_PART) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, name: str, data: bytes) -> None:
        with self._errors(name) as files:
            files.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> None:
        """Writes a new object. On a server without conditional requests, it overwrites as ``write`` does.

        Raises:
            FileExistsError: the object exists.
        """
        try:
            with self._errors(name) as files:
                files.pipe_file(self._path(name), data, mode="create")
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            self.write(name, data)

    def upload(self, file: Path, name: str) -> None:
        """Uploads a file. The object becomes visible when it is complete."""
        with self._errors(name) as files:
            files.put_file(str(file), self._path(name), chunksize=_PART)

    def sizes(self, name: str = "") -> dict[str, int]:
        """Returns bytes by name, of the object ``name`` and of all below it. Takes one request per thousand objects."""
        start = f"{name}/" if name else ""
        listed = self._list(name, "")
        return {each: size for each, size in listed if size is not None and f"{each}/".startswith(start)}

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names of objects and folders in a folder."""
        start = f"{folder}/" if folder else ""
        return sorted({name.removeprefix(start).rstrip("/") for name, _ in self._list(start, "/")} - {""})

    def delete(self, names: list[str]) -> None:
        """Removes objects. A missing one is no error."""
        with self._errors(names[0] if names else "") as files:
            for start in range(0, len(names), 1000):
                with contextlib.suppress(FileNotFoundError):
                    files.rm([self._path(name) for name in names[start : start + 1000]])

    def abort_uploads(self) -> None:
        """Aborts the unfinished uploads of dead processes: they are invisible, but cost storage."""
        if protocol(self.url) != "s3":
            return  # Google removes them after a week
        try:
            self._abort_uploads()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.ENOSYS):
                raise

    def _abort_uploads(self) -> None:
        bucket, start = self._place("")
        with self._errors("") as files:
            page: dict[str, Any] = {}
            while True:
                after = {k: page[f"Next{k}"] for k in ("KeyMarker", "UploadIdMarker") if page.get(f"Next{k}")}
                page = files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=start, **after)
                for upload in page.get("Uploads", ()):
                    with contextlib.suppress(FileNotFoundError):
                        files.call_s3(
                            "abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                if not page.get("IsTruncated"):
                    return

    def _list(self, start: str, delimiter: str) -> Iterator[tuple[str, int | None]]:
        """Yields the names that begin with ``start``, each with its bytes, or None for a folder."""
        bucket, prefix = self._place(start)
        root = len(self._place("")[1])
        with self._errors(start) as files:
            if protocol(self.url) != "s3":
                listed = _google_list(files, f"{bucket}/{prefix}".rstrip("/"), delimiter, self.patient)
                yield from ((name[len(bucket) + 1 + root :], size) for name, size in listed)
                return
            more: dict[str, str] = {}
            while True:  # ``ls`` of s3fs would list the parent too
                page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, **more)
                yield from ((each["Prefix"][root:], None) for each in page.get("CommonPrefixes", ()))
                yield from ((each["Key"][root:], each["Size"]) for each in page.get("Contents", ()))
                if not page.get("IsTruncated"):
                    return
                more = {"ContinuationToken": page["NextContinuationToken"]}

    def _place(self, name: str) -> tuple[str, str]:
        """Returns bucket and key."""
        bucket, _, prefix = self.url.partition("://")[2].partition("/")
        return bucket, f"{prefix}/{name}" if prefix else name

    def _path(self, name: str) -> str:
        return "/".join(self._place(name))

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[Any]:
        """Gives the fsspec file system to the block and translates its exceptions."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield _files(protocol(self.url), self.patient)
        except ImportError as error:
            module = _MODULES[protocol(self.url)]
            raise PipelineError(
                f"--out {self.url}: needs {module} ({error}); pip install 'rank-shards[{EXTRAS[module]}]'"
            ) from None
        except Exception as error:
            raise _translated(error, where) from None


def _google_list(files: Any, path: str, delimiter: str, patient: bool) -> list[tuple[str, int | None]]:
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    try:
        if delimiter:  # gcsfs has no setting for the number of tries, but a timeout
            infos = sync(files.loop, files._ls, path, detail=True, timeout=None if patient else _SHORT_TIMEOUT)
        else:
            infos = files.find(path, detail=True).values()
    except FileNotFoundError:
        if not files.exists(path.partition("/")[0]):
            raise OSError(errno.ENXIO, "there is no such bucket") from None
        return []
    return [(each["name"], None if each["type"] == "directory" else each["size"]) for each in infos]


@functools.cache
def _files(protocol: str, patient: bool) -> Any:
    importlib.import_module(_MODULES[protocol])
    import fsspec  # type: ignore[import-untyped]

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol == "gs":
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it would print a traceback of what it also raises
    if protocol == "s3":
        tries = {"mode": "standard", "total_max_attempts": 8 if patient else 2}
        waits = {"connect_timeout": 10, "read_timeout": 60} if patient else {"connect_timeout": 3, "read_timeout": 4}
        options |= {"config_kwargs": {"retries": tries, **waits}, "max_concurrency": _PARTS_AT_ONCE}
    files = fsspec.filesystem(protocol, **options)
    if protocol == "s3":
        files.retries = 2 if patient else 1  # after botocore's own retries, which wait longer
    return files


def _translated(error: Exception, where: str) -> Exception:
    """Returns the OSError for an exception of a request; any other exception unchanged."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:300]
    names = {kind.__name__ for kind in type(error).__mro__}
    if code == "NoSuchBucket":
        return OSError(errno.ENXIO, "there is no such bucket", where)
    if code in _EXISTS or isinstance(error, FileExistsError):
        return FileExistsError(errno.EEXIST, "exists already", where)
    if code in _UNSUPPORTED:
        return OSError(errno.ENOSYS, text, where)
    if names & _NO_CREDENTIALS:
        variables = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if where.startswith("s3") else "gcloud auth"
        return PermissionError(errno.EACCES, f"no credentials; set {variables}, or a profile or role", where)
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
