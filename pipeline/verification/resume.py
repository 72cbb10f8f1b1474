"""The file of verified parts, by which an interrupted run is resumed: one line for each part without a fault.

The key of a part is a hash over the manifest, this program's version, the options, and size, times, inode and device of
each of its files. Inodes and the times of their changes belong to this machine, so the file of a copied output is ignored.
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
from pipeline.verification.parts import Result
from pipeline.verification.shards.moments import Moments

# The version of the file and of what verifying a part covers: when either changes, everything is verified again.
_FORMAT = 5
_FIRST = b"rank-shards: parts that verify has proven\n"
_IN_OUTPUT = Path(".build", "proof", "parts")
_MAX_LINE = 1 << 20  # characters
_SUMS = ("bytes", "samples", "fitted", "paired", "recomputed")


def chosen_path(path: Path, out: Path) -> Path:
    """Returns the path of ``--progress``, if it can be used.

    Raises:
        PipelineError: it is inside the output, cannot be written, or is a file of another kind.
    """
    user_files.check_outside("--progress", path, out)
    user_files.check("--progress", path, _FIRST, "holds no parts that verify has proven")
    if path.exists() and not path.is_file():
        raise UsageError(f"--progress {path} is no regular file: name another file")
    return path


def default_path(out: Path) -> Path | None:
    """Returns the path inside the output; None if anything else is stored there: a stranger may have made the output."""
    path = out / _IN_OUTPUT
    try:
        if any(place.is_symlink() for place in (path, *path.parents[:2])):
            return None
        return path if not path.exists() or (path.is_file() and user_files.begins(path, _FIRST)) else None
    except OSError:
        return None


class Stamps:
    """Size, times, inode and device of every file, read once: they show whether a file has changed."""

    def __init__(self, manifest: Manifest) -> None:
        self._stamps: dict[str, list[int]] = {}
        for name in manifest.files:
            with contextlib.suppress(OSError):
                stat = os.lstat(manifest.root / name)
                self._stamps[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]

    def of_files(self, names: Iterable[str]) -> list[tuple[str, list[int]]]:
        """Returns name and stamp of each file; the stamp of a missing file is empty."""
        return [(name, self._stamps.get(name, [])) for name in names]


class VerifiedParts:
    """The parts that were verified without a fault.

    Attributes:
        used: how many of them ``get`` has returned.
        path: of their file; None if none can be written.
    """

    def __init__(self, path: Path | None, fresh: bool, manifest: Manifest) -> None:
        self._results: dict[str, Result] = {}
        self._variants = {variant.name: variant for variant in manifest.variants}
        self._file: TextIO | None = None
        self.used, self.path = 0, path
        if path is not None:
            if not fresh:
                self._load(path)
            self._open(path, fresh)

    def get(self, part: str) -> Result | None:
        """Returns the result of a part, if it is verified."""
        result = self._results.get(part)
        self.used += result is not None
        return result

    def add(self, part: str, result: Result) -> None:
        """Adds a part, if it has no fault."""
        if self._file is None or result.faults.count:
            return
        content = json.dumps([_FORMAT, part, _to_json(result)])
        try:
            self._file.write(f"{hashlib.sha256(content.encode()).hexdigest()} {content}\n")
            self._file.flush()
        except OSError:  # a full disk: the part is then verified again
            self._file = None

    def finish(self, complete: bool) -> None:
        """Closes the file; if all is verified, removes it, and the folders in the output that it leaves empty."""
        if self._file is not None:
            self._file.close()
        if complete and self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
                for folder in self.path.parents[:2] if self.path.match(str(_IN_OUTPUT)) else ():
                    folder.rmdir()  # fails if it is not empty

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
        """Reads every whole line; others are of a run that was cut off, or of another program."""
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
                self._results[part] = self._from_json(raw)

    def _from_json(self, raw: dict[str, Any]) -> Result:
        """Returns the result in a line. Raises ValueError, TypeError or KeyError if ``_to_json`` did not write it."""
        result = Result(counts=Counts(*map(_whole, raw["counts"])))
        for name in _SUMS:
            setattr(result, name, _whole(raw[name]))
        for variant, split, pixels, sums, squares, ends in raw["moments"]:
            moments = Moments(_whole(pixels), _three(sums), _three(squares), _whole(ends))
            result.moments[self._variants[variant], str(split)] = moments
        return result


def digest_of_part(claims: list[Any], stamps: list[tuple[str, list[int]]]) -> str:
    """Returns the key of a part: SHA-256 of everything that its result depends on."""
    return hashlib.sha256(json.dumps([_FORMAT, __version__, claims, stamps]).encode()).hexdigest()


def _to_json(result: Result) -> dict[str, Any]:
    moments = [
        [variant.name, split, total.pixels, total.sums.tolist(), total.squares.tolist(), total.ends]
        for (variant, split), total in result.moments.items()
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
