"""Checks files that options write: only a file that the same option has written is overwritten."""

import os
from pathlib import Path

from pipeline.errors import PipelineError, UsageError
from pipeline.storage.location import Location


def check(option: str, path: Path, first: bytes, otherwise: str, empty: bool = False) -> None:
    """Checks, before any work, that an option may write ``path``. Pipes and devices are accepted unread.

    Args:
        first: the bytes that every file of the option begins with.
        otherwise: what the message says of another file, such as "is no report".
        empty: whether an empty file may be overwritten. An output's list of rejects may be empty.

    Raises:
        UsageError: the option has not written this file.
        PipelineError: the folder is missing, or the file cannot be read or written.
    """
    if not path.parent.is_dir():
        raise PipelineError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: name a file")
    try:
        own = not path.is_file() or (begins(path, first) and (empty or path.stat().st_size > 0))
    except OSError as error:
        raise PipelineError(f"{option} {path}: {error.strerror}; name another file") from None
    if not own:
        raise UsageError(f"{option} {path} exists already and {otherwise}: name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        folder = os.statvfs(path if path.exists() else path.parent)
        reason = "it is on a read-only file system" if folder.f_flag & os.ST_RDONLY else "no permission to write it"
        raise PipelineError(f"{option} {path}: {reason}; name another file")


def check_outside(option: str, path: Path, out: Location) -> None:
    """Raises UsageError if ``path`` is inside an output: it could replace a file, or be treated as one of the output's."""
    if inside(path, out):
        raise UsageError(f"{option} {path} is inside the output {out}: name a file elsewhere")


def inside(path: Path, out: Location) -> bool:
    """Returns whether a path, with links resolved, is inside an output's folder. It need not exist."""
    return isinstance(out, Path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out))


MARK = "rank-shards"  # the text "Software" in every picture that this program writes
_MARKED = b"tEXtSoftware\0" + MARK.encode()


def check_picture(option: str, path: Path) -> None:
    """Raises UsageError if a picture is not this program's own, and PipelineError if it cannot be read."""
    try:
        own = not path.exists() or (path.is_file() and _begins_marked(path))
    except OSError as error:
        raise PipelineError(f"{option} {path}: {error.strerror}; name another one") from None
    if not own:
        raise UsageError(
            f"{option} {path} exists already and is no picture that this program has made: name another one"
        )


def _begins_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARKED in file.read(256)


def begins(path: Path, first: bytes) -> bool:
    """Returns whether a file begins with ``first``, or is an empty or truncated beginning of it. Raises OSError."""
    with path.open("rb") as file:
        return first.startswith(file.read(len(first)))
