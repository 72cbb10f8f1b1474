"""One file from the network, whole and with the right checksum, or not at all."""

import contextlib
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import PipelineError

TRIES = 4
_BLOCK = 1 << 18
_BUSY = frozenset({408, 425, 429})  # besides 5xx, the answers that may change when asked again


class _Failed(Exception):
    """The server or the network would not give the file; its text says why."""


class _Transient(_Failed):
    """Worth another try."""


def fetch(
    url: str,
    target: Path,
    size: int,
    md5: str,
    report: Callable[[int, int], None],
    *,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Download ``url`` to ``target``, which appears only when it is complete and right.

    Args:
        size, md5: of the official file.
        report: called with (bytes done, ``size``) as they come in.
        pause: seconds before the second try, doubled before each other.
        timeout: seconds without an answer or a byte.

    Raises:
        PipelineError: what went wrong, and which file may be put where instead.
    """
    partial = target.with_name(f"{target.name}.part-{os.getpid()}")
    advice = f"put {target.name} into {target.parent} yourself, or give --data-dir the folder that holds it"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _try(url, partial, size, report, pause, timeout)
        found = md5_of(partial)
        if found != md5:
            raise _Failed(f"its MD5 is {found}, the official one {md5}")
        os.replace(partial, target)
    except _Failed as error:
        raise PipelineError(f"{url} cannot be downloaded ({error}): {advice}") from None
    except OSError as error:
        raise PipelineError(f"{target} cannot be written: {error.strerror}; set XDG_CACHE_HOME, or {advice}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def md5_of(path: Path) -> str:
    """The MD5 of a file, hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def stderr_report(name: str) -> Callable[[int, int], None]:
    """Progress on stderr: one line that is rewritten on a terminal, otherwise a plain line every tenth."""
    terminal = sys.stderr.isatty()
    steps = 1000 if terminal else 10
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        step = done * steps // max(total, 1)
        if step != last:
            last = step
            text = f"{name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
            end = "\n" if not terminal or done >= total else ""
            print(f"\r\x1b[K{text}" if terminal else text, end=end, file=sys.stderr, flush=True)

    return report


def _try(url: str, partial: Path, size: int, report: Callable[[int, int], None], pause: float, timeout: float) -> None:
    """As often as it may help."""
    for attempt in range(TRIES):
        try:
            return _copy(url, partial, size, report, timeout)
        except _Transient:
            if attempt == TRIES - 1:
                raise
            time.sleep(pause * 2**attempt)


def _copy(url: str, partial: Path, size: int, report: Callable[[int, int], None], timeout: float) -> None:
    """One try. Raises _Failed, or OSError where the disk is the trouble."""
    with open(partial, "wb") as file:
        try:
            response = urllib.request.urlopen(url, timeout=timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code >= 500 or error.code in _BUSY:
                raise _Transient(f"the server answered {error.code}") from None
            raise _Failed(f"the server answered {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(_reason(error)) from None
        with response:
            done = _stream(response, file, size, report)
        file.flush()
        os.fsync(file.fileno())
    if done < size:
        raise _Transient(f"the connection ended after {done:,} of {size:,} bytes")
    if done > size:
        raise _Failed(f"it is larger than the official {size:,} bytes")


def _stream(response: http.client.HTTPResponse, file: BinaryIO, size: int, report: Callable[[int, int], None]) -> int:
    """Bytes written; stops soon after ``size``, whatever the server goes on to send."""
    done = 0
    while done <= size:
        try:
            block = response.read(min(_BLOCK, size + 1 - done))
        except http.client.IncompleteRead as error:
            raise _Transient(f"the connection ended after {done + len(error.partial):,} of {size:,} bytes") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(_reason(error)) from None
        if not block:
            break
        file.write(block)
        done += len(block)
        report(min(done, size), size)
    return done


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):
        return "the server does not answer in HTTP"  # the exception's text is whatever it sent
    cause = getattr(error, "reason", None) or error  # urllib wraps the socket's error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
