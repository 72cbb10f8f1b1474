"""What an interrupted proof has proven so far: a line for each part that holds, believed while nothing of it changes.

A part is known by a hash over the manifest, this program's version, what was asked for, and size, times, inode and device
of each of its files. Times of change and inodes are this machine's, so what travels with an output is never believed.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.storage import user_files
from pipeline.verification.arrays.reference import Counts
from pipeline.verification.manifest.claims import Manifest
from pipeline.verification.part import Result
from pipeline.verification.shards.moments import Moments

# Of what is kept, and of what a part's proof proves: with either changed, everything is proven again.
_FORMAT = 4
_FIRST = b"rank-shards: parts that verify has proven\n"
_IN_OUTPUT = Path(".build", "proof", "parts")
_MAX_LINE = 1 << 20  # characters
_SUMS = ("bytes", "samples", "fitted", "paired", "recomputed")


def named(path: Path, out: Path) -> Path:
    """The user's own choice of where to keep it. Raises PipelineError where it cannot be, or another's file is, or inside
    the output."""
    user_files.check_outside("--progress", path, out)
    user_files.check("--progress", path, _FIRST, "holds no parts that verify has proven")
    if path.exists() and not path.is_file():
        raise UsageError(f"--progress {path} is no regular file: name another file")
    return path


def in_output(out: Path) -> Path | None:
    """Where it is kept by default; None where something else lies there: a stranger may have made the output."""
    path = out / _IN_OUTPUT
    try:
        if any(place.is_symlink() for place in (path, *path.parents[:2])):
            return None
        return path if not path.exists() or (path.is_file() and user_files.begins(path, _FIRST)) else None
    except OSError:
        return None


class Stamps:
    """What tells whether a file has changed, looked at once."""

    def __init__(self, manifest: Manifest) -> None:
        self._of: dict[str, list[int]] = {}
        for name in manifest.files:
            with contextlib.suppress(OSError):
                found = os.lstat(manifest.root / name)
                self._of[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]

    def of(self, names: Iterable[str]) -> list[tuple[str, list[int]]]:
        """Name and stamp of each; files that are not there have an empty one."""
        return [(name, self._of.get(name, [])) for name in names]


class Kept:
    """The parts that are known to hold.

    Attributes:
        used: how many of them have been asked for.
        path: where they are kept; None where no file can be.
    """

    def __init__(self, path: Path | None, fresh: bool, manifest: Manifest) -> None:
        self._known: dict[str, Result] = {}
        self._variants = {variant.name: variant for variant in manifest.variants}
        self._file: TextIO | None = None
        self.used, self.path = 0, path
        if path is not None:
            if not fresh:
                self._load(path)
            self._open(path, fresh)

    def get(self, part: str) -> Result | None:
        """What was found of a part that held."""
        found = self._known.get(part)
        self.used += found is not None
        return found

    def add(self, part: str, result: Result) -> None:
        """Keep a part, if it holds."""
        if self._file is None or result.faults.count:
            return
        content = json.dumps([_FORMAT, part, _to_json(result)])
        try:
            self._file.write(f"{hashlib.sha256(content.encode()).hexdigest()} {content}\n")
            self._file.flush()
        except OSError:  # a full disk: then it is proven again
            self._file = None

    def finish(self, proven: bool) -> None:
        """Close the file; where all is proven, remove it, and folders in an output that are left empty."""
        if self._file is not None:
            self._file.close()
        if proven and self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
                for folder in self.path.parents[:2] if self.path.match(str(_IN_OUTPUT)) else ():
                    folder.rmdir()  # where nothing else is in it

    def _open(self, path: Path, fresh: bool) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = path.exists() and path.stat().st_size < len(_FIRST)
            self._file = path.open("w" if fresh or torn else "a", encoding="ascii")
            if self._file.tell() == 0:
                self._file.write(_FIRST.decode())
                self._file.flush()
        except OSError:
            self.path = None

    def _load(self, path: Path) -> None:
        """Every line that is whole; others are of a run that was cut off, or of somebody else."""
        try:
            if not path.is_file():
                return
            with path.open(encoding="ascii", errors="replace") as file:
                while line := file.readline(_MAX_LINE):
                    digest, _, content = line.rstrip("\n").partition(" ")
                    if hashlib.sha256(content.encode()).hexdigest() == digest:
                        self._take(content)
        except OSError:
            return

    def _take(self, content: str) -> None:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            form, part, raw = json.loads(content)
            if form == _FORMAT and isinstance(part, str):
                self._known[part] = self._from_json(raw)

    def _from_json(self, raw: dict[str, Any]) -> Result:
        """Raises ValueError, TypeError or KeyError where it is not what ``_to_json`` writes."""
        result = Result(counts=Counts(*map(_whole, raw["counts"])))
        for name in _SUMS:
            setattr(result, name, _whole(raw[name]))
        for variant, split, pixels, sums, squares, ends in raw["moments"]:
            moments = Moments(_whole(pixels), _three(sums), _three(squares), _whole(ends))
            result.moments[self._variants[variant], str(split)] = moments
        return result


def part_of(claims: list[Any], stamps: list[tuple[str, list[int]]]) -> str:
    """What a part is known by: SHA-256 of all that its proof depends on."""
    return hashlib.sha256(json.dumps([_FORMAT, __version__, claims, stamps]).encode()).hexdigest()


def _to_json(result: Result) -> dict[str, Any]:
    moments = [
        [variant.name, split, of.pixels, of.sums.tolist(), of.squares.tolist(), of.ends]
        for (variant, split), of in result.moments.items()
    ]
    return {name: getattr(result, name) for name in _SUMS} | {"counts": list(result.counts), "moments": moments}


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _three(values: Any) -> np.ndarray:
    if len(values) != 3 or not all(isinstance(value, float) and math.isfinite(value) for value in values):
        raise ValueError
    return np.array(values)
