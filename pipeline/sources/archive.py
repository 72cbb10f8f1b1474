"""Official archives: fetched once, checked before they are opened, unpacked member by member."""

import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.progress import duration
from pipeline.sources.files import md5

_TRIES = 3
_TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 18
_LARGEST = 1 << 28  # bytes of an unpacked member: no official one comes near


def cache_folder() -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/rank-shards``, or ``~/.cache/rank-shards``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rank-shards"


def fetch(archive: dict[str, Any], folder: Path) -> Path:
    """Download an archive into ``folder``, whole and right or not at all.

    Args:
        archive: ``name``, ``url``, ``bytes``, ``md5``, as in a manifest.

    Raises:
        PipelineError: no network, or other bytes than the official ones; it says which file to put where instead.
    """
    target = folder / archive["name"]
    partial = folder / f"{archive['name']}.part-{os.getpid()}"
    advice = f"download {archive['url']} elsewhere and put it into {folder}, or name its folder with --data-dir"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(archive, partial)
        _check(partial, archive)
        partial.replace(target)
    except PipelineError as error:
        raise PipelineError(f"{archive['name']}: {error}; {advice}") from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise PipelineError(f"{archive['name']} cannot be downloaded ({reason}); {advice}") from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _download(archive: dict[str, Any], target: Path) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(archive["url"], timeout=_TIMEOUT) as response, target.open("wb") as file:
                _copy(response, file, archive)
                os.fsync(file.fileno())
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _TRIES:
                raise PipelineError(f"the server answers {error.code} {error.reason}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            if attempt == _TRIES:
                raise
        time.sleep(attempt)


def _copy(response: Any, file: Any, archive: dict[str, Any]) -> None:
    done, started, shown = 0, time.monotonic(), 0.0
    terminal = sys.stderr.isatty()
    while block := response.read(_BLOCK):
        done += len(block)
        if done > archive["bytes"]:
            raise PipelineError(f"the server sends more than the official {archive['bytes']:,} bytes")
        file.write(block)
        now = time.monotonic()
        if now - shown >= (0.2 if terminal else 10) or done == archive["bytes"]:
            shown, left = now, (archive["bytes"] - done) * (now - started) / done
            text = f"{archive['name']}: {done / 1e6:,.0f} of {archive['bytes'] / 1e6:,.0f} MB, {duration(left)} left"
            sys.stderr.write(f"\r\x1b[K{text}" if terminal else f"{text}\n")
    if terminal:
        sys.stderr.write("\n")


def _check(path: Path, archive: dict[str, Any]) -> None:
    size = path.stat().st_size
    if size != archive["bytes"]:
        raise PipelineError(f"{size:,} of {archive['bytes']:,} bytes, half downloaded")
    found = md5(path)
    if found != archive["md5"]:
        raise PipelineError(f"its MD5 is {found}, the official one {archive['md5']}")


def unpack(packed: Path, layout: dict[str, Any], members: list[str]) -> Path:
    """The folder in the cache with an archive's batches; unpacked there if they are not yet.

    Args:
        packed: the archive; checked before it is opened.
        layout: a layout of a manifest.
        members: file names to take from the archive's folder; nothing else in it is touched.

    Raises:
        PipelineError: not the official archive, or one that lacks a member.
    """
    archive = layout["archive"]
    target = cache_folder() / "unpacked" / archive["md5"] / layout["folder"]
    if target.is_dir():
        return target
    try:
        _check(packed, archive)
    except PipelineError as error:
        raise PipelineError(f"{packed}: {error}; delete it and get it again") from None
    fresh = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        fresh.mkdir(parents=True)
        with tarfile.open(packed) as tar:
            for name in members:
                _extract(tar, f"{layout['folder']}/{name}", fresh / name)
        fresh.replace(target)
    except KeyError as error:
        raise PipelineError(f"{packed} lacks {error.args[0]}") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        if target.is_dir():  # another process was quicker
            return target
        raise PipelineError(f"{packed} cannot be unpacked into {target.parent}: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _extract(tar: tarfile.TarFile, member: str, path: Path) -> None:
    info = tar.getmember(member)
    source = tar.extractfile(info) if info.isreg() and info.size <= _LARGEST else None
    if source is None:
        raise PipelineError(f"{member} in the archive is no plain file of a sane size")
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
