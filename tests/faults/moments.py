"""Finds out what a build was doing when it was killed, from the files that it left."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.builds import Files, hashes

RECORDS = ".build/records"
STAGES = (
    WRITING := "a shard's files are computed and written",
    SYNCING := "all files written, none renamed",
    RENAMING := "some files renamed, some not",
    RENAMED := "all files renamed, no record",
    BETWEEN := "between a record and the next shard's first file",
)


class Whole:
    """The result of an undisturbed build, and how much of it another build has reached.

    Attributes:
        files: hashes of the finished output.
        shards: how many records it has.
        before: of the finished output that the build grows, if any.
    """

    def __init__(self, out: Path, before: Files | None = None) -> None:
        self.files, self.before = hashes(out), before or {}
        self._records = dict(_records(out))
        self.shards = len(self._records)
        new = set(self.files) - set(self.before)
        self._shard_of = {name: shard for name in new if (shard := _shard_of(name))}
        self._each = Counter(self._shard_of.values())

    def committed(self, out: Path) -> int:
        """Returns how many shards have their final record."""
        return len(self._committed(out))

    def placed(self, out: Path) -> dict[str, int]:
        """Returns the inodes of the files with final names whose shards have no record."""
        done = {name.removesuffix(".json") for name in self._committed(out)}
        waiting = [out / name for name, shard in self._shard_of.items() if shard not in done]
        return {path.relative_to(out).as_posix(): path.stat().st_ino for path in waiting if path.exists()}

    def stage(self, out: Path, earlier: dict[str, int]) -> str:
        """Returns what the build was doing with the shard that was furthest, among those without a record.

        Args:
            earlier: what was ``placed`` when the run began.
        """
        placed = Counter(self._shard_of[name] for name, inode in self.placed(out).items() if earlier.get(name) != inode)
        scratch = len(os.listdir(out / ".build" / "tmp"))
        if placed:
            return RENAMED if any(count == self._each[shard] for shard, count in placed.items()) else RENAMING
        if not scratch:
            return BETWEEN
        return WRITING if scratch < min(self._each.values()) else SYNCING

    def check_partial(self, out: Path) -> None:
        """Checks that all files outside ``.build`` are complete files of the output before or after, without a manifest."""
        for name, digest in hashes(out).items():
            assert digest in (self.files.get(name), self.before.get(name)), f"{name} is neither old nor new"
        assert not (out / "manifest.json").exists()

    def _committed(self, out: Path) -> list[str]:
        return [name for name, size in _records(out) if self._records.get(name) == size]


def _records(out: Path) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(out / RECORDS) as entries:
            yield from ((entry.name, entry.stat().st_size) for entry in entries)
    except FileNotFoundError:
        return


def _shard_of(name: str) -> str:
    """Returns the shard of an output file, if a shard is one chunk of each array."""
    if match := re.search(r"-(train|test)-(\d{6})\.(tar|idx)$", name):
        return f"{match[1]}-{match[2]}"
    if match := re.search(r"\.zarr/(train|test)/(?:\w+/)?c\.(\d+)[.\d]*$", name):
        return f"{match[1]}-{int(match[2]):06d}"
    return ""
