"""Downloads one official file: the file appears complete and with the right checksum, or not at all.

pooch was tried in place of this module. With the promises below it took 167 lines. On its own, pooch 1.9 writes as many
bytes as the server sends, treats a 404 and a lost connection alike, unpacks a .gz that the server labels as compressed,
sends the password that ~/.netrc holds for the host, makes the file private to its user, logs to stderr, and computes MD5 in
a way that FIPS mode forbids.
"""

import contextlib
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import PipelineError

TRIES = 4
_BLOCK = 1 << 18  # bytes
_BUSY = frozenset({408, 425, 429})  # answers that may change on a later try, besides 5xx

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Download:
    """How to get one official file.

    Attributes:
        url: where it is.
        size: bytes of the official file.
        checksum: of the official file, hexadecimal.
        algorithm: of the checksum, a name that hashlib knows.
        otherwise: what the user may do if the file can neither be downloaded nor put into the cache, for the error's text.
        pause: seconds before the second try. Each further pause is twice as long.
        timeout: seconds to wait for a connection, or for the next bytes.
    """

    url: str
    size: int
    checksum: str
    algorithm: str = "md5"
    otherwise: str = "give --data-dir the folder that holds it"
    pause: float = 1.0
    timeout: float = 30.0


class _Failed(Exception):
    """The server or the network did not deliver the file. The text says why."""


class _Transient(_Failed):
    """The next try may succeed."""


def fetch(download: Download, target: Path, report: Report) -> None:
    """Downloads a file to ``target``, which appears only when it is complete and right.

    Args:
        report: called with (bytes received, bytes in total) during the download.

    Raises:
        PipelineError: the download failed. The message says why, and where to put the file instead.
    """
    partial = target.with_name(f"{target.name}.part-{os.getpid()}")
    advice = f"put {target.name} into {target.parent} yourself, or {download.otherwise}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _try(download, partial, report)
        checksum = _checksum(partial, download.algorithm)
        if checksum != download.checksum:
            name = download.algorithm.upper()
            raise _Failed(f"its {name} is {checksum}, the official file has {download.checksum}")
        os.replace(partial, target)
    except _Failed as error:
        raise PipelineError(f"{download.url} cannot be downloaded ({error}): {advice}") from None
    except OSError as error:
        raise PipelineError(f"{target} cannot be written: {error.strerror}; set XDG_CACHE_HOME, or {advice}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def md5_of(path: Path) -> str:
    """Returns the MD5 of a file, hexadecimal. Raises OSError."""
    return _checksum(path, "md5")


def _checksum(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def stderr_report(name: str) -> Report:
    """Returns a report that prints to stderr: on a terminal one line that is rewritten, else one line per tenth."""
    terminal = sys.stderr.isatty()
    steps = 1000 if terminal else 10
    last_step = -1

    def report(received: int, total: int) -> None:
        nonlocal last_step
        step = received * steps // max(total, 1)
        if step != last_step:
            last_step = step
            text = f"{name}: {received / 1e6:.0f} of {total / 1e6:.0f} MB"
            end = "\n" if not terminal or received >= total else ""
            print(f"\r\x1b[K{text}" if terminal else text, end=end, file=sys.stderr, flush=True)

    return report


def _try(download: Download, partial: Path, report: Report) -> None:
    """Downloads to ``partial``, with further tries after failures that may pass."""
    for attempt in range(TRIES):
        try:
            return _copy(download, partial, report)
        except _Transient:
            if attempt == TRIES - 1:
                raise
            time.sleep(download.pause * 2**attempt)


def _copy(download: Download, partial: Path, report: Report) -> None:
    """Makes one try. Raises _Failed, or OSError if the file cannot be written."""
    with open(partial, "wb") as file:
        try:
            response = urllib.request.build_opener().open(download.url, timeout=download.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            kind = _Transient if error.code >= 500 or error.code in _BUSY else _Failed
            raise kind(f"the server answered {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(_reason(error)) from None
        with response:
            received = _stream(response, file, download.size, report)
        file.flush()
        os.fsync(file.fileno())
    if received < download.size:
        raise _Transient(f"the connection ended after {received:,} of {download.size:,} bytes")
    if received > download.size:
        raise _Failed(f"it is larger than the official {download.size:,} bytes")


def _stream(response: http.client.HTTPResponse, file: BinaryIO, size: int, report: Report) -> int:
    """Copies a response to a file and returns the number of bytes. Stops soon after ``size`` bytes."""
    received = 0
    while received <= size:
        try:
            block = response.read(min(_BLOCK, size + 1 - received))
        except http.client.IncompleteRead as error:
            received += len(error.partial)
            raise _Transient(f"the connection ended after {received:,} of {size:,} bytes") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(_reason(error)) from None
        if not block:
            break
        file.write(block)
        received += len(block)
        report(min(received, size), size)
    return received


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):
        return "the server does not answer in HTTP"  # the exception's text is the server's
    cause = getattr(error, "reason", None) or error  # urllib wraps the socket's error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
