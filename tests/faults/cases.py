"""Small builds for faults at every operation, and what an undisturbed build leaves."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

from pipeline.storage.store import BUILD
from tests.faults.builds import Files, hashes
from tests.faults.failing_disk import FailingDisk

_TINY = ("--dataset", "sample", "--splits", "train", "--samples-per-shard", "4")
_THREE = (*_TINY, "--ranks", "3", "--limit", "8")


class Case(NamedTuple):
    """A command, and the finished build that it extends, if any. ``older``: built by a version that wrote another card."""

    command: tuple[str, ...]
    before: tuple[str, ...] | None = None
    older: bool = False


CASES = {
    "a new build": Case(_THREE),
    "exact cuts and factors": Case((*_THREE, "--exact", "--factors")),
    "growth of ranks and limit": Case(
        (*_TINY, "--ranks", "3,5", "--limit", "8"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "overwriting": Case(
        (*_TINY, "--ranks", "5", "--limit", "8", "--overwrite"), (*_TINY, "--ranks", "3", "--limit", "6")
    ),
    "nothing to do": Case(_THREE, _THREE),
    "only to finish": Case(_THREE, _THREE, older=True),
}


class Whole(NamedTuple):
    """The result of an undisturbed build: the hashes of its files, and its shard records."""

    files: Files
    records: dict[str, bytes]

    @classmethod
    def of(cls, out: Path) -> "Whole":
        return cls(hashes(out), records(out))


def make_before(case: Case, place: Path, disk: FailingDisk) -> None:
    """Returns a folder with the output ``out`` that the case extends, or an empty folder."""
    place.mkdir()
    if case.before:
        assert disk.build(*case.before, out=place / "out")[:2] == (0, "")
    if case.older:
        _make_older(place / "out")


def _make_older(out: Path) -> None:
    card, manifest = out / "README.md", out / "manifest.json"
    content = card.read_bytes() + b"As an older version put it.\n"
    card.write_bytes(content)
    described = json.loads(manifest.read_bytes())
    described["files"][card.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.write_text(json.dumps(described))


def fresh_copy(folder: Path, place: Path) -> Path:
    """Copies a folder to ``place``, and returns the output in the copy."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place / "out"


def records(out: Path) -> dict[str, bytes]:
    folder = out / BUILD / "records"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def check_records(out: Path, whole: Whole, note: str) -> None:
    """Checks that the files of every record are in place."""
    here = hashes(out)
    for name, content in records(out).items():
        if content == whole.records.get(name):
            proven = [file for file, digest in whole.files.items() if digest.encode() in content]
            assert all(here.get(file) == whole.files[file] for file in proven), (note, name)
            assert len(proven) >= 5, "two variants' tars and indexes, and the spectra"
