"""Promise: a full disk ends a build in one line without partial files. With free space the same command completes."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.builds import (
    JOB,
    SMALL,
    assert_nothing_partial,
    assert_undisturbed,
    committed,
    completes,
    one_line,
    run,
    scratch,
)

pytestmark = pytest.mark.fault

PAGE = os.sysconf("SC_PAGE_SIZE")
Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mounts a file system in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def remount(disk: Path) -> Remount:
    """Changes the options of the file system, as in ``size=6m`` or ``ro``."""

    def change(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)

    return change


def fill(disk: Path, pages: int) -> Path:
    """Fills the disk with a file, up to this number of free pages."""
    filler, free = disk / "filler", os.statvfs(disk)
    assert free.f_frsize == PAGE
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (free.f_bavail - pages) * PAGE)
    assert os.statvfs(disk).f_bavail == pages
    return filler


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=[pytest.mark.ray, pytest.mark.full])])
def test_disk_full_in_mid_shard(workers: int, disk: Path, remount: Remount) -> None:
    out = disk / "out"
    remount("size=4m")
    line = one_line(run(*JOB, "--workers", workers, out=out))
    assert line.startswith("shard train-")
    assert line.endswith("No space left on device; free some space")
    before = committed(out)
    assert before > 10
    assert_nothing_partial(out, *JOB)
    assert scratch(out) == []
    assert "No space left on device" in one_line(run(*JOB, "--workers", workers, out=out))  # and again
    assert_nothing_partial(out, *JOB)
    assert scratch(out) == []
    assert committed(out) >= before
    remount("size=64m")
    completes(*JOB, "--workers", workers, out=out)


@pytest.mark.parametrize(
    "pages", [pytest.param(n, marks=[] if n in (0, 2, 5, 11) else [pytest.mark.full]) for n in range(40)]
)
def test_disk_full_in_the_finish(pages: int, disk: Path) -> None:
    """All shards are committed, and this number of pages is free for the lock, the manifest and other files."""
    out = disk / "out"
    completes(*SMALL, "--workers", 0, out=out)
    for path in [*out.glob("*"), *out.glob("*/*")]:
        if path.is_file() and path.suffix in (".json", ".md", ".txt", ".jsonl") and path.parent.name != ".build":
            path.unlink()
    filler = fill(disk, pages)
    ended = run(*SMALL, "--workers", 0, out=out)
    if ended.status == 0:
        assert pages > 11
        assert_undisturbed(*SMALL, out=out)
    else:
        assert "No space left on device" in one_line(ended)
        assert not (out / "manifest.json").exists()
        assert_nothing_partial(out, *SMALL)
        assert scratch(out) == []
    filler.unlink()
    completes(*SMALL, "--workers", 0, out=out)


def test_read_only_disk(disk: Path, remount: Remount) -> None:
    line = "Read-only file system"
    remount("ro")
    assert line in one_line(run(*SMALL, "--workers", 0, out=disk / "out"))
    remount("rw")
    completes(*SMALL, "--workers", 0, out=disk / "out")
    remount("ro")
    assert line in one_line(run(*SMALL, "--workers", 0, out=disk / "out"))
    assert_undisturbed(*SMALL, out=disk / "out")
