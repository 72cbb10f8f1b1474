"""Promise: scratch files of dead processes are removed, those of living processes never."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import upload_scratch

ROOT = Path(__file__).resolve().parents[3]
OTHER = """
from pipeline.storage import upload_scratch
upload_scratch.path('run').write_text('x')
print(upload_scratch._own(), flush=True)
input()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    upload_scratch._own.cache_clear()
    yield
    upload_scratch._own.cache_clear()


def other() -> tuple[subprocess.Popen[str], Path]:
    """Starts another process with a scratch file, and returns it with its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_dead_process_leaves_nothing_for_long_and_a_living_one_is_left_alone() -> None:
    process, folder_of_other = other()
    with process:
        assert len(list(folder_of_other.iterdir())) == 1
        upload_scratch.clear()
        assert len(list(folder_of_other.iterdir())) == 1
        process.kill()
        process.wait()
        assert folder_of_other.exists()
        upload_scratch.clear()
        assert not folder_of_other.exists()
        assert not folder_of_other.with_suffix(".lock").exists()


def test_the_first_scratch_file_of_a_process_removes_them_too() -> None:
    process, folder_of_other = other()
    with process:
        process.kill()
        process.wait()
        assert upload_scratch.path("run").parent.is_dir()
        assert not folder_of_other.exists()


def test_clearing_removes_this_process_s_own_files_and_goes_on() -> None:
    upload_scratch.path("run").write_text("x")
    upload_scratch.clear()
    again = upload_scratch.path("run")
    again.write_text("x")
    assert again.read_text() == "x"
    assert [path.name for path in again.parent.iterdir()] == [again.name]
