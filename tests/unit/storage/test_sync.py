"""Promises: a file system that cannot sync folders can hold an output; the missing guarantee is reported once."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data import RankDataset
from pipeline.data.export import export_npy
from pipeline.storage import files
from tests.conftest import Build, contents

Failing = Callable[[int, bool], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Makes fsync fail with an error number, of folders or of files."""
    monkeypatch.setattr(files, "_said", False)
    real = os.fsync

    def start(number: int, of_folders: bool) -> None:
        def fsync(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode) is of_folders:
                raise OSError(number, os.strerror(number))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return start


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS])
def test_a_build_continues_and_says_once_what_is_missing(
    number: int, failing: Failing, build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = ("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--samples-per-shard", "2", "--out")
    assert build(*arguments, tmp_path / "usual").err == ""
    failing(number, True)
    result = build(*arguments, tmp_path / "out")
    assert result.status == 0
    assert result.err.count("\n") == 1
    assert "cannot sync folders" in result.err
    assert os.strerror(number) in result.err
    assert contents(tmp_path / "out") == contents(tmp_path / "usual")
    export_npy(RankDataset(tmp_path / "out", "rank3"), tmp_path / "npy")
    assert (tmp_path / "npy").is_dir()


@pytest.mark.parametrize(
    ("number", "of_folders"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False), (errno.EIO, False)]
)
def test_other_errors_of_a_sync_end_a_build(
    number: int, of_folders: bool, failing: Failing, build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """Data that the disk did not take, and files that no sync protects, are never reported as finished."""
    source = pictures()
    failing(number, of_folders)
    result = build("--dataset", "folder", "--data-dir", source, "--ranks", "3", "--out", tmp_path / "out")
    assert result.status == 1
    assert os.strerror(number) in result.err
    assert result.err.count("\n") <= 3  # two retries, where the error is one of a shard
    assert not (tmp_path / "out" / "manifest.json").exists()
