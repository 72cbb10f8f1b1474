"""Promises: a long TMPDIR does not stop a command; errors without a file name say which operation failed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import console
from pipeline.errors import PipelineError
from pipeline.storage import short_folder as module
from pipeline.storage.short_folder import short_folder
from tests.conftest import Build

SOCKET = 32


@pytest.fixture
def long(tmp_path: Path) -> Path:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    return folder


def test_a_short_folder_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/dev")
    assert short_folder(SOCKET) == Path("/dev")
    assert short_folder(107 - len("/dev/")) == Path("/dev")
    with pytest.raises(PipelineError):  # /tmp is as long
        short_folder(107 - len("/dev/") + 1)


def test_another_folder_replaces_a_long_one(monkeypatch: pytest.MonkeyPatch, long: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(long))
    assert len(str(short_folder(SOCKET))) < 20
    monkeypatch.setattr(module, "_SHORT", ("/no/such/folder",))
    with pytest.raises(PipelineError, match="TMPDIR"):
        short_folder(SOCKET)


def test_verify_works_in_a_long_folder(build: Build, pictures: Callable[..., Path], long: Path, tmp_path: Path) -> None:
    build("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--out", tmp_path / "out")
    command = [sys.executable, "-m", "pipeline.verify", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(long)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(long) == []


def test_an_error_without_a_file_name_names_the_operation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def copy() -> int:
        from pipeline.storage import files

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("AF_UNIX path too long")))
            files.sync(tmp_path)
        return 0

    assert console.run(copy, "stopped") == 1
    assert capsys.readouterr().err == "error: sync (pipeline.storage.files): AF_UNIX path too long\n"


def test_other_errors_name_their_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert console.run(lambda: len((tmp_path / "none").read_bytes()), "stopped") == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: No such file or directory\n"
