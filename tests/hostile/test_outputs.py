"""Whatever an output from somebody else contains, nothing is followed, waited for or read without end."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import build as build_command
from pipeline import repair
from pipeline.errors import PipelineError
from pipeline.formats.sealed_json import seal
from pipeline.storage import files
from tests.conftest import Result, contents, smooth

FOLDERS = [".build", ".build/tmp", ".build/records", ".build/tmp/repair", "pets-rank2", "samples", "spectra.zarr"]
FOLDERS += ["spectra.zarr/train", "factors.zarr/train/u"]
STATE = [".build/lock", ".build/driver", ".build/writers", ".build/job.json", ".build/runs.jsonl"]
STATE += [".build/records/train-000000.json", "manifest.json"]
FILES = ["pets-rank2/pets-rank2-train-000000.tar", "README.md", "pets-rank2/classnames.txt", "samples/train.jsonl"]
FILES += ["rejects.jsonl", "spectra.zarr/zarr.json", "spectra.zarr/train/c.0.0.0"]
GIVEN = ("--name", "pets", "--ranks", "2", "--components", "low,full", "--factors", "--samples-per-shard", "4")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for name in "ab":
        (folder / "train" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(smooth(rng, 12, 12)).save(folder / "train" / name / f"{number}.png")
    return folder


def job(source: Path, out: Path) -> list[str]:
    return ["--dataset", "folder", "--data-dir", str(source), *GIVEN, "--out", str(out), "--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs") / "out"
    assert build_command.main(job(source, out)) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy of the output, beside a folder and a file of another user."""
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "precious").write_text("precious\n")
    (tmp_path / "else" / "README.md").write_text("keep\n")
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture(params=["build", "overwrite", "repair"])
def run(
    request: pytest.FixtureRequest, source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[], Result]:
    """Runs a command on the output. It must end within seconds and leave the other user's files alone."""

    def go() -> Result:
        elsewhere = contents(out.parent / "else")
        capsys.readouterr()
        with at_most(60):
            if request.param == "repair":
                status = repair.main([str(out), "--source", str(source), "--workers", "0"])
            else:
                status = build_command.main(
                    [*job(source, out), *(["--overwrite"] if request.param == "overwrite" else [])]
                )
        assert contents(out.parent / "else") == elsewhere
        return Result(status, *capsys.readouterr())

    return go


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"it hangs: {seconds} seconds are over")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def error_line(result: Result) -> str:
    result = result._replace(err=result.err.removeprefix("building on CPU cores\n"))
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1), result
    assert result.err.startswith("error: ")
    return result.err.removeprefix("error: ").rstrip("\n")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", [*FOLDERS, *STATE, *FILES])
def test_a_link_inside_an_output_is_refused_before_any_work(name: str, out: Path, run: Callable[[], Result]) -> None:
    there = out.parent / "else" if name in FOLDERS else out.parent / "else" / "precious"
    remove(out / name)
    (out / name).symlink_to(os.path.relpath(there, (out / name).parent))
    before = contents(out)
    line = error_line(run())
    assert line.startswith(f"{out / name} is a symbolic link")
    assert contents(out) == before


@pytest.mark.parametrize("name", [".build/anything", "pets-rank2/dangling.tar", "deep/er/link"])
def test_a_link_that_leads_nowhere_or_that_no_build_asks_for_is_refused_too(
    name: str, out: Path, run: Callable[[], Result]
) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).symlink_to("nowhere")
    assert error_line(run()).startswith(f"{out / name} is a symbolic link")


def test_the_output_itself_may_be_a_link_to_a_folder(built: Path, out: Path, run: Callable[[], Result]) -> None:
    disk = out.rename(out.parent / "disk")
    out.symlink_to(disk)
    (disk / FILES[0]).unlink()
    assert run().status == 0
    assert contents(disk) == contents(built)
    assert out.is_symlink()


def test_an_output_that_is_a_link_to_nowhere_is_reported(
    out: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = out.parent / "link"
    link.symlink_to("gone")
    assert build_command.main(job(source, link)) == 1
    assert capsys.readouterr().err == f"error: --out {link} is a link to gone, which does not exist; make that folder\n"


@pytest.mark.parametrize("name", [*STATE, FILES[0]])
def test_a_pipe_is_never_waited_for(name: str, out: Path, run: Callable[[], Result]) -> None:
    (out / name).unlink(missing_ok=True)
    os.mkfifo(out / name)
    line = error_line(run())
    assert line.startswith(f"{out / name} is not a regular file; move it away")


@pytest.mark.parametrize("name", [".build/lock", ".build/driver", *FILES])
def test_a_folder_in_the_place_of_a_file_is_named(
    name: str, out: Path, source: Path, built: Path, run: Callable[[], Result]
) -> None:
    remove(out / name)
    (out / name).mkdir()
    (out / name / "somebody's").write_text("precious\n")
    result = run()
    if result.status == 0:  # --overwrite deletes what builds have written, whole folders too
        assert contents(out) == contents(built)
        return
    line = error_line(result) if "repaired" not in result.out else result.err
    assert f"{out / name} is a folder where a file belongs; move it away" in line
    assert (out / name / "somebody's").exists()
    shutil.rmtree(out / name)
    assert run().status == 0
    assert contents(out) == contents(built)


@pytest.mark.parametrize("name", ["pets-rank2", ".build/records", ".build/tmp", "spectra.zarr", "factors.zarr/train"])
def test_a_file_in_the_place_of_a_folder_is_named(
    name: str, out: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remove(out / name)
    (out / name).write_text("a file\n")
    assert build_command.main(job(source, out)) == 1
    line = error_line(Result(1, *capsys.readouterr()))
    assert line.startswith(f"{out / name} is a file where a folder belongs; move it away")


LIMITED = """
import resource, sys
from pipeline.build import main
resource.setrlimit(resource.RLIMIT_AS, (6_000_000 << 10,) * 2)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", STATE)
def test_files_of_twenty_gigabytes_are_not_read(name: str, out: Path, source: Path, built: Path) -> None:
    (out / name).touch()
    os.truncate(out / name, 20 << 30)
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, *job(source, out)], capture_output=True, text=True, check=False
    )
    if name == ".build/job.json":
        line = "error: the output's description .build/job.json is damaged; --overwrite builds it again\n"
        assert (ran.returncode, ran.stderr) == (1, line)
        return
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    assert contents(out) == contents(built)


def test_a_valid_record_beyond_every_size_proves_nothing(out: Path, source: Path, built: Path) -> None:
    """Padding does not change the meaning."""
    record = out / ".build/records/train-000000.json"
    os.truncate(record, record.stat().st_size)
    content = record.read_bytes()
    record.write_bytes(content + b" " * (20 << 20))
    before = (out / FILES[0]).stat().st_ino
    assert build_command.main(job(source, out)) == 0
    assert (out / FILES[0]).stat().st_ino != before
    assert record.read_bytes() == content
    assert contents(out) == contents(built)


def test_an_edited_record_without_its_checksum_makes_no_manifest(out: Path, source: Path, built: Path) -> None:
    path = out / ".build/records/train-000000.json"
    record = json.loads(path.read_bytes())
    record["variants"]["rank2"]["statistics"]["clipped"] = 10**15
    del record["checksum"]
    assert seal(record) != path.read_bytes()
    path.write_text(json.dumps(record))
    (out / "manifest.json").unlink()
    assert build_command.main(job(source, out)) == 0
    assert contents(out) == contents(built)


@pytest.fixture
def theirs(built: Path, source: Path) -> Iterator[tuple[Path, Path]]:
    """Copies of the source and of the output that belong to the user who runs the test, not to an administrator."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        copies = [Path(shutil.copytree(path, Path(folder) / path.name)) for path in (source, built)]
        if os.geteuid() != 0:
            yield copies[0], copies[1]
            return
        for path in [Path(folder), *Path(folder).rglob("*")]:
            os.chown(path, 65534, 65534)
        os.seteuid(65534)
        try:
            yield copies[0], copies[1]
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["", "pets-rank2", "samples", ".build/tmp", ".build/records", "spectra.zarr"])
def test_a_folder_that_may_not_be_written_is_named(
    name: str, overwrite: bool, theirs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = theirs
    damaged = {"pets-rank2": FILES[0], "spectra.zarr": "spectra.zarr/zarr.json"}.get(name, "samples/train.jsonl")
    os.truncate(out / damaged, 1)
    (out / ".build/records/train-000001.json").write_text("{}")
    (out / name).chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        status = build_command.main([*job(source, out), *(["--overwrite"] if overwrite else [])])
    finally:
        (out / name).chmod(0o755)
    line = error_line(Result(status, *capsys.readouterr()))
    assert line.endswith("Permission denied")
    assert (out / name).as_posix() in line.replace(":", " ").split(), line


def test_what_is_opened_to_be_written_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_APPEND):
        with pytest.raises(PipelineError, match="symbolic link"):
            files.open_output_file(tmp_path / "link", flags)
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "link")
    assert not (tmp_path / "file").exists()
