"""A file that an option names to be written: nothing but what the option itself has written is written over."""

import os
from pathlib import Path

from pipeline.errors import PipelineError, UsageError
from pipeline.storage.location import Location


def check(option: str, path: Path, first: bytes, otherwise: str, empty: bool = False) -> None:
    """Refuse what lies at ``path`` where it is another's, an output's own files above all; best before any work.

    Pipes and devices are never read; whether they can be written to is for the caller to know.

    Args:
        first: the bytes that every such file begins with.
        otherwise: of a file that does not, such as "is no report".
        empty: a file without content is taken; an output's list of rejects may be one.

    Raises:
        UsageError: the file is another's.
        PipelineError: there is no such folder, or the file cannot be read or written.
    """
    if not path.parent.is_dir():
        raise PipelineError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: name a file")
    try:
        known = not path.is_file() or (begins(path, first) and (empty or path.stat().st_size > 0))
    except OSError as error:
        raise PipelineError(f"{option} {path}: {error.strerror}; name another file") from None
    if not known:
        raise UsageError(f"{option} {path} is there already and {otherwise}: name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        folder = os.statvfs(path if path.exists() else path.parent)
        reason = "it lies on a read-only file system" if folder.f_flag & os.ST_RDONLY else "no permission to write it"
        raise PipelineError(f"{option} {path}: {reason}; name another file")


def check_outside(option: str, path: Path, out: Location) -> None:
    """Refuse a place inside an output, where it could be one of its own files, or what a reader takes for one.

    Raises:
        UsageError: it lies there.
    """
    if inside(path, out):
        raise UsageError(f"{option} {path} lies inside the output {out}: name a file elsewhere")


def inside(path: Path, out: Location) -> bool:
    """Whether a path, of a link what it leads to, lies in an output's folder, or would."""
    return isinstance(out, Path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out))


MARK = "rank-shards"  # the text "Software" of every PNG file that is written
_MARKED = b"tEXtSoftware\0" + MARK.encode()


def check_picture(option: str, path: Path) -> None:
    """Refuse a picture that this program has not made. Raises UsageError, or PipelineError where it cannot be read."""
    try:
        known = not path.exists() or (path.is_file() and _begins_marked(path))
    except OSError as error:
        raise PipelineError(f"{option} {path}: {error.strerror}; name another one") from None
    if not known:
        raise UsageError(
            f"{option} {path} is there already and no picture that this program has made: name another one"
        )


def _begins_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARKED in file.read(256)


def begins(path: Path, first: bytes) -> bool:
    """Whether a file begins with ``first``, or ends, empty or torn, before it could. Raises OSError."""
    with path.open("rb") as file:
        return first.startswith(file.read(len(first)))
