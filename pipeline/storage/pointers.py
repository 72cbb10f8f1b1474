"""Pointer files, which stand for large files that were not fetched: of Git LFS and of git-annex (DataLad)."""

from pathlib import Path

_LFS, _ANNEX = b"version https://git-lfs.github.com/spec/", b"/annex/objects/"
_LONGEST = 1 << 15  # bytes


def pointer(content: bytes) -> str:
    """Returns what a file is if its content is a pointer, and how to get the file; otherwise an empty string."""
    if len(content) <= _LONGEST and content.startswith(_LFS):
        return "a Git LFS pointer instead of the file: run git lfs pull"
    if len(content) <= _LONGEST and content.startswith(_ANNEX):
        return "a git-annex pointer instead of the file: run git annex get"
    return ""


def pointer_at(path: Path) -> str:
    """Returns the same of a file; an empty string, too, if it cannot be read."""
    try:
        with path.open("rb") as file:
            return pointer(file.read(_LONGEST + 1))
    except OSError:
        return ""
