"""Promises of the command: each wrong input gives one line on stderr and the right status, and nothing is written."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main
from pipeline.sources.folder.source import Folder
from pipeline.sources.index import Entry
from tests.conftest import Build, SmallCifar, contents, stamps

Refused = Callable[..., str]
Pictures = Callable[..., Path]
SAMPLE = ("--dataset", "sample", "--ranks", "3", "--limit", "6")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the empty working directory, where a refused command must write nothing."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ranks", "0"], "ranks: 0 is too small, the least is 1"),
        (["--ranks", "32"], "ranks: 32 is too large for 32 x 32 images; a rank must be from 1 to 31"),
        (["--ranks", "-3"], "ranks: -3 is too small, the least is 1"),
        (["--ranks", "-3,5"], "ranks: -3 is too small, the least is 1"),
        (["--ranks=-3"], "ranks: -3 is too small, the least is 1"),
        (["--ranks", "3,,5"], "ranks: '3,,5' has an empty or unreadable item; write for instance 3,5,10"),
        (["--ranks", "3,3"], "ranks: 3 is given twice in '3,3'"),
        (["--ranks", "a"], "ranks: 'a' is not a whole number"),
        (["--ranks", ""], "ranks: '' has an empty or unreadable item; write for instance 3,5,10"),
        ([], "ranks: none given; say which to cut at, as in --ranks 3,5,10,20"),
        (["--ranks"], "argument --ranks: expected one argument"),
        (["--ranks", "--quiet"], "argument --ranks: expected one argument"),
        (
            ["--ranks", "3", "--dataset", "cifr10"],
            "dataset: 'cifr10' is not one of sample, cifar10, cifar100, imagenet, folder, webdataset, parquet, "
            "arrays, did you mean 'cifar10'?",
        ),
        (
            ["--ranks", "3", "--components", "lwo"],
            "components: 'lwo' is not one of low, high, full, did you mean 'low'?",
        ),
        (
            ["--ranks", "3", "--splits", "tset"],
            "splits: 'tset' is not in the source, did you mean 'test'?; it has train, test",
        ),
        (["--ranks", "3", "--splits", "xyz"], "splits: 'xyz' is not in the source; it has train, test"),
        (
            ["--ranks", "3", "--order", "suffled"],
            "order: 'suffled' is not one of source, shuffled, did you mean 'shuffled'?",
        ),
        (["--ranks", "3", "--limit", "none"], "limit: 'none' is not a whole number"),
        (["--ranks", "3", "stray"], "unknown argument 'stray'; see --help"),
        (["3,5"], "unknown argument '3,5'; see --help"),
        (["--rank", "3"], "unknown option '--rank', did you mean '--ranks'?; see --help"),
        (["--ranks", "3", "--data_dir", "x"], "unknown option '--data_dir', did you mean '--data-dir'?; see --help"),
        (
            ["--ranks", "3", "--max-reject=3"],
            "unknown option '--max-reject=3', did you mean '--max-rejects'?; see --help",
        ),
        (["--ranks", "3", "--zzz"], "unknown option '--zzz'; see --help"),
        (["--ranks", "3", "--dry-run=yes"], "--dry-run/--no-dry-run takes no value, not 'yes'"),
        (["--ranks", "3", "--config"], "argument --config: expected one argument"),
        (["--config", "none.yaml"], "config none.yaml: No such file or directory"),
        (
            ["--ranks", "3", "--data-dir", "x"],
            "--data-dir does not go with --dataset sample: it has its own photographs",
        ),
        (
            ["--ranks", "3", "--dataset", "folder"],
            "--dataset folder needs --data-dir, a folder with train/<class>/... or <class>/... in it",
        ),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    arguments: list[str], line: str, refused: Refused, here: Path
) -> None:
    assert refused(*arguments) == line
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("dataset", ["folder", "cifar10", "cifar100"])
def test_a_missing_or_empty_data_folder_is_named(dataset: str, refused: Refused, here: Path, tmp_path: Path) -> None:
    job = ("--dataset", dataset, "--ranks", "3", "--data-dir")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    missing = refused(*job, tmp_path / "none", status=1)
    assert missing.startswith(f"{tmp_path}/none does not exist: --data-dir takes the folder that holds ")
    empty = refused(*job, tmp_path / "empty", status=1)
    assert empty.startswith(f"{tmp_path}/empty ")
    assert "empty: it should hold train/<class>/... or <class>/..." in empty or "--data-dir takes" in empty
    file = refused(*job, tmp_path / "file", status=1)
    assert file.startswith(f"{tmp_path}/file is a file: --data-dir takes the folder that holds ")
    assert list(here.iterdir()) == []


def test_a_folder_without_images_is_refused(refused: Refused, here: Path, tmp_path: Path) -> None:
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "readme.txt").write_text("no image")
    line = refused("--dataset", "folder", "--ranks", "3", "--data-dir", tmp_path / "texts", status=1)
    assert line == "none of the source's 1 files is an image, the first is a/readme.txt"
    assert list(here.iterdir()) == []


def cifar(small: SmallCifar, *more: object) -> tuple[object, ...]:
    return ("--dataset", "cifar10", "--ranks", "3", "--data-dir", small.folder, *more)


def test_a_build_of_cifar_says_nothing_when_it_is_quiet(build: Build, cifar_binary: SmallCifar) -> None:
    assert build(*cifar(cifar_binary)) == (0, "", "")
    assert Path("out/cifar10/manifest.json").exists()


def test_an_edited_cifar_file_is_refused_and_nothing_written(
    refused: Refused, cifar_binary: SmallCifar, here: Path
) -> None:
    batch = next(cifar_binary.folder.glob("*/data_batch_3.bin"))
    edited = bytearray(batch.read_bytes())
    edited[100] ^= 1
    batch.write_bytes(edited)
    line = refused(*cifar(cifar_binary), status=1)
    assert line.startswith(f"{batch} has MD5 ")
    assert "get it again, or --allow-unverified builds from it anyway (recorded in the manifest)" in line
    assert list(here.iterdir()) == []


def test_an_edited_cifar_file_is_built_on_request_and_the_output_says_so(
    build: Build, cifar_binary: SmallCifar
) -> None:
    assert build(*cifar(cifar_binary, "--out", "official")).status == 0
    batch = next(cifar_binary.folder.glob("*/data_batch_3.bin"))
    edited = bytearray(batch.read_bytes())
    edited[100] ^= 1
    batch.write_bytes(edited)
    assert build(*cifar(cifar_binary, "--out", "edited", "--allow-unverified")).status == 0
    manifests = [json.loads(Path(out, "manifest.json").read_text()) for out in ("official", "edited")]
    assert [manifest["source"]["checksums_verified"] for manifest in manifests] == [True, False]
    assert manifests[0]["source"]["fingerprint"] != manifests[1]["source"]["fingerprint"]
    assert "--allow-unverified" in Path("edited/README.md").read_text()
    assert "--allow-unverified" not in Path("official/README.md").read_text()


@pytest.mark.parametrize("more", [[], ["--allow-unverified"]])
def test_a_half_downloaded_cifar_batch_is_called_that(
    more: list[str], refused: Refused, cifar_binary: SmallCifar, here: Path
) -> None:
    batch = next(cifar_binary.folder.glob("*/test_batch.bin"))
    os.truncate(batch, 30_000)
    line = refused(*cifar(cifar_binary, *more), status=1)
    assert line.startswith(f"{batch} is half-downloaded or cut off: 30,000 bytes, the official file has 61,460")
    assert list(here.iterdir()) == []


def test_a_missing_cifar_batch_is_named(refused: Refused, cifar_binary: SmallCifar, here: Path) -> None:
    next(cifar_binary.folder.glob("*/data_batch_2.bin")).unlink()
    assert "lacks data_batch_2.bin" in refused(*cifar(cifar_binary), status=1)
    assert list(here.iterdir()) == []


def tree(folder: Path, *more: object) -> tuple[object, ...]:
    return ("--dataset", "folder", "--ranks", "3", "--data-dir", folder, "--out", "out", *more)


def names_in(tar: str) -> list[str]:
    with tarfile.open(tar) as opened:
        return opened.getnames()


def test_a_text_among_images_is_rejected_by_name_and_leaves_a_gap(build: Build, pictures: Pictures) -> None:
    folder = pictures(each=3)
    (folder / "a" / "01x.txt").write_text("no image")
    result = build(*tree(folder, "--order", "source"))
    assert (result.status, result.out) == (3, "")
    reason = "not an image in one of the formats PNG, JPEG, WEBP, BMP, GIF, TIFF, PPM"
    message = f"1 image was rejected (a/01x.txt: {reason}); all are in out/rejects.jsonl; a rerun tries them again\n"
    assert result.err == message
    rejects = [json.loads(line) for line in Path("out/rejects.jsonl").read_text().splitlines()]
    assert rejects == [{"key": "train-00000002", "position": 2, "name": "a/01x.txt", "reason": reason}]
    for variant in ("rank3", "highrank3"):
        names = names_in(f"out/folder-{variant}/folder-{variant}-train-000000.tar")
        assert names[::2] == [f"train-{i:08d}.png" for i in (0, 1, 3, 4, 5, 6)]
    described = json.loads(Path("out/manifest.json").read_text())["splits"]["train"]
    assert described == {"entries": 7, "samples": 6, "rejects": 1, "shards": 1, "converted": {}}


def test_a_rejected_image_moves_no_shard_boundary(build: Build, pictures: Pictures) -> None:
    folder = pictures(each=4)
    (folder / "a" / "01.png").write_bytes(b"")
    assert build(*tree(folder, "--order", "source", "--samples-per-shard", "3")).status == 3
    shards = [names_in(f"out/folder-rank3/folder-rank3-train-{i:06d}.tar")[::2] for i in range(3)]
    numbers = [[int(name[6:14]) for name in shard] for shard in shards]
    assert numbers == [[0, 2], [3, 4, 5], [6, 7]]


def damage(image: Path) -> bytes:
    """Truncates an image. Returns its old content."""
    content = image.read_bytes()
    image.write_bytes(content[:-60])
    return content


def test_a_truncated_image_is_status_3_and_within_max_rejects_status_0(build: Build, pictures: Pictures) -> None:
    folder = pictures()
    damage(folder / "b" / "02.png")
    result = build(*tree(folder))
    assert result.status == 3
    assert "1 image was rejected (b/02.png: truncated)" in result.err
    before = contents(Path("out"))
    assert build(*tree(folder, "--max-rejects", "1")) == (0, "", "")
    assert contents(Path("out")) == before
    assert build(*tree(folder)).status == 3


def test_an_image_repaired_in_its_own_bytes_completes_the_output(build: Build, pictures: Pictures) -> None:
    folder = pictures()
    assert build(*tree(folder, "--out", "whole")).status == 0
    image = folder / "b" / "02.png"
    good = image.read_bytes()
    image.write_bytes(good[:30] + bytes(len(good) - 30))
    assert build(*tree(folder)).status == 3
    image.write_bytes(good)
    assert build(*tree(folder)) == (0, "", "")
    assert Path("out/rejects.jsonl").read_bytes() == b""
    assert contents(Path("out")) == contents(Path("whole"))


def test_a_truncated_image_replaced_by_the_whole_one_completes_the_output(build: Build, pictures: Pictures) -> None:
    folder = pictures()
    assert build(*tree(folder, "--out", "whole")).status == 0
    good = damage(folder / "b" / "02.png")
    assert build(*tree(folder)).status == 3
    (folder / "b" / "02.png").write_bytes(good)
    assert build(*tree(folder)) == (0, "", "")
    assert contents(Path("out")) == contents(Path("whole"))


def test_a_rerun_over_a_shard_of_nothing_but_rejects_keeps_the_output_finished(
    build: Build, pictures: Pictures
) -> None:
    folder = pictures()
    damage(folder / "b" / "03.png")
    job = tree(folder, "--order", "source", "--samples-per-shard", "7")
    assert build(*job).status == 3
    before = contents(Path("out"))
    assert build(*job).status == 3
    assert contents(Path("out")) == before


def test_every_image_unreadable_is_a_failure(refused: Refused, pictures: Pictures) -> None:
    folder = pictures()
    for image in folder.rglob("*.png"):
        damage(image)
    line = refused(*tree(folder, "--order", "source"), status=1)
    assert line == "no image could be read; the first: a/00.png: truncated"
    assert not Path("out/manifest.json").exists()


def test_a_source_of_mostly_unreadable_images_stops_early(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "many" / "a").mkdir(parents=True)
    for number in range(1100):
        (tmp_path / "many" / "a" / f"{number:04d}.png").write_bytes(b"junk")
    Image.new("RGB", (8, 8)).save(tmp_path / "many" / "a" / "0000.png")
    line = refused(*tree(tmp_path / "many", "--order", "source", "--samples-per-shard", "100"), status=1)
    assert line.startswith(
        "999 of the first 1,000 images cannot be read, so this is probably the wrong source; the first: a/"
    )
    assert not Path("out/manifest.json").exists()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--order", "shuffled"], "its order is 'source', not 'shuffled'"),
        (["--samples-per-shard", "5"], "its samples-per-shard is 1250, not 5"),
        (["--name", "other"], "its name is 'sample', not 'other'"),
    ],
)
def test_an_output_of_another_job_is_not_changed_and_the_difference_is_reported(
    more: list[str], line: str, build: Build, refused: Refused
) -> None:
    assert build(*SAMPLE, "--out", "out").status == 0
    before, when = contents(Path("out")), stamps(Path("out"))
    error = refused(*SAMPLE, "--out", "out", *more, status=1)
    assert error == f"the output is of another job: {line}; choose another --out, or --overwrite to build it again"
    assert contents(Path("out")) == before
    assert stamps(Path("out")) == when


def test_another_dataset_is_another_job(build: Build, refused: Refused, pictures: Pictures) -> None:
    assert build(*SAMPLE, "--out", "out", "--name", "same").status == 0
    error = refused(*tree(pictures(), "--name", "same"), status=1)
    assert error.startswith("the output is of another job: its dataset is 'sample', not 'folder'")


def test_other_images_are_another_job(build: Build, refused: Refused, pictures: Pictures) -> None:
    assert build(*tree(pictures("one"))).status == 0
    error = refused(*tree(pictures("two", each=5)), status=1)
    assert error.startswith("the output is of another job: its source fingerprint is '")


def test_a_file_is_no_place_for_an_output(refused: Refused, here: Path) -> None:
    (here / "file").write_text("mine")
    for out in ("file", "file/below"):
        line = refused(*SAMPLE, "--out", out, status=1)
        assert line in ("--out file is a file; name a folder", "--out file/below: Not a directory")
    assert (here / "file").read_text() == "mine"


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--dry-run"]])
@pytest.mark.parametrize("name", ["holiday.jpg", "README.md", "sample-rank3/x.tar", ".hidden", "samples/a"])
def test_a_folder_with_other_files_is_refused_and_nothing_deleted(
    name: str, more: list[str], refused: Refused, here: Path
) -> None:
    (here / "mine" / name).parent.mkdir(parents=True)
    (here / "mine" / name).write_text("mine")
    line = refused(*SAMPLE, "--out", "mine", *more, status=1)
    assert (
        line == "--out mine holds files, and nothing says that a build has written them; name an empty or a new folder"
    )
    assert contents(here) == {f"mine/{name}": b"mine"}


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["manifest.json", ".build/debug/app"])
def test_a_browser_extension_or_a_swift_package_is_not_an_output(
    name: str, more: list[str], refused: Refused, here: Path
) -> None:
    for file in (name, "README.md", "samples/a"):
        (here / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        (here / "mine" / file).write_text('{"name": "mine", "manifest_version": 3}')
    before = contents(here, build_too=True)
    line = refused(*SAMPLE, "--out", "mine", *more, status=1)
    assert (
        line == "--out mine holds files, and nothing says that a build has written them; name an empty or a new folder"
    )
    assert contents(here, build_too=True) == before


@pytest.mark.parametrize("out", ["/proc/x", "/proc/self/nothing/x", "/sys/x"])
def test_a_folder_that_cannot_be_made_is_one_line(out: str, refused: Refused) -> None:
    if not Path(out).parent.parent.is_dir():
        pytest.skip("needs /proc and /sys")
    line = refused(*SAMPLE, "--out", out, status=1)
    assert line.startswith(f"--out {out}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(refused: Refused, here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    assert refused(*SAMPLE, "--out", "locked/out", status=1) == "--out locked/out: Permission denied"


def test_a_name_too_long_for_the_file_system_is_one_line(refused: Refused) -> None:
    assert "File name too long" in refused(*SAMPLE, "--out", "x" * 300, status=1)


class Late(BaseException):
    """An exception that nothing in a build catches."""


def test_one_shard_for_everything_does_not_take_for_ever(build: Build) -> None:
    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(3)
    status = None
    try:
        status = build(*SAMPLE, "--samples-per-shard", "999999999999999989", "--out", "out").status
    except Late:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert status in (0, 2)


JOB = """
entrypoint: python jobs/run.py
metadata:
  job:
    dataset: sample
    ranks: [3]
    limit: 6
    out: from-file
"""


def test_a_job_file_is_a_whole_job_and_flags_win_over_it(build: Build, here: Path) -> None:
    (here / "job.yaml").write_text(JOB)
    assert build("--config", "job.yaml") == (0, "", "")
    assert build("--config", "job.yaml", "--out", "from-flag", "--ranks", "5").status == 0
    assert sorted(json.loads(Path("from-file/manifest.json").read_text())["variants"]) == ["highrank3", "rank3"]
    assert sorted(json.loads(Path("from-flag/manifest.json").read_text())["variants"]) == ["highrank5", "rank5"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (JOB.replace("ranks", "rnaks"), "unknown key 'rnaks' in metadata.job, did you mean 'ranks'?; known: dataset, "),
        (JOB.replace("out:", "output_dir:"), "unknown key 'output_dir' in metadata.job; known: dataset, "),
        ("- a\n- b\n", "has no section metadata.job; see jobs/cifar10.yaml"),
        ("entrypoint: x\n", "has no section metadata.job; see jobs/cifar10.yaml"),
        ("metadata: !!python/object/apply:os.mkdir [ran]\n", "is not valid YAML: it has a tag"),
    ],
)
def test_a_wrong_job_file_is_one_line(text: str, line: str, refused: Refused, here: Path) -> None:
    (here / "job.yaml").write_text(text)
    error = refused("--config", "job.yaml", "--ranks", "3")
    assert error.startswith("config job.yaml")
    assert line in error
    assert [path.name for path in here.iterdir()] == ["job.yaml"]


def test_a_wrong_value_in_a_job_file_is_reported_like_that_of_a_flag(refused: Refused, here: Path) -> None:
    (here / "job.yaml").write_text(JOB.replace("[3]", "[3, 32]"))
    assert refused("--config", "job.yaml").startswith("ranks: 32 is too large for 32 x 32 images")
    (here / "job.yaml").write_text(JOB.replace("[3]", "3,,5"))
    assert refused("--config", "job.yaml").startswith("config job.yaml: ranks: '3,,5' has an empty")
    Path("job.yaml").write_text("metadata: {job: {factors: true, radii: 4}}")
    assert refused("--config", "job.yaml").endswith("(config job.yaml and the flags together)")


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom pipeline.build import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    print('status', end.code)\n"
        "print('heavy:', sorted({'numpy', 'yaml', 'PIL', 'ray', 'torch', 'zarr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m pipeline.build ")
    assert done.stdout.endswith("status 0\nheavy: []\n")


def test_the_module_runs_as_a_command_and_ends_with_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.build", "--ranks", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: ranks: 0 is too small, the least is 1\n"


def test_the_summary_shows_the_output_and_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SAMPLE, "--out", "out", "--workers", "0"]) == 0
    first = capsys.readouterr()
    assert first.out.startswith("out: ")
    assert "rank3, highrank3" in first.out.splitlines()[0]
    assert "train 6, test 6 images" in first.out.splitlines()[0]
    assert "built 2 shards from 12 images in " in first.out
    assert first.out.endswith("next: python -m pipeline.verify out\n")
    assert "12 of 12 images" in first.err
    assert main([*SAMPLE, "--out", "out", "--workers", "0"]) == 0
    assert "everything was in place already; nothing was built" in capsys.readouterr().out


def test_after_a_disk_error_the_shard_is_tried_again_and_then_reported(
    build: Build, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    real, fails = Folder.read, {"b/01.png": 2}

    def read(self: Folder, entry: Entry, most: int | None = None) -> bytes:
        if most is None and fails.get(entry.name, 0) > 0:
            fails[entry.name] -= 1
            raise OSError(5, "Input/output error", entry.file)
        return real(self, entry, most)

    monkeypatch.setattr(Folder, "read", read)
    result = build(*tree(folder))
    assert result.status == 0
    assert result.err == "trying again: shard train-000000: b/01.png Input/output error\n" * 2
    assert json.loads(Path("out/manifest.json").read_text())["splits"]["train"]["rejects"] == 0
    fails["b/01.png"] = 99
    result = build(*tree(folder, "--out", "again"))
    assert result.status == 1
    assert result.err.splitlines()[-1] == "error: shard train-000000: b/01.png Input/output error (tried 3 times)"
    assert not Path("again/manifest.json").exists()
    fails.clear()
    assert build(*tree(folder, "--out", "again")).status == 0
    assert contents(Path("again")) == contents(Path("out"))


def test_a_failing_disk_in_a_dry_run_is_one_line(
    refused: Refused, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Folder, entry: Entry, most: int | None = None) -> bytes:
        raise OSError(5, "Input/output error", entry.file)

    monkeypatch.setattr(Folder, "read", read)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert "Input/output error" in refused(*tree(pictures(), "--dry-run"), status=1)


def test_a_bug_is_one_line_and_its_traceback_is_kept(
    refused: Refused, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(self: Folder, raw: bytes) -> np.ndarray:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Folder, "decode", decode)
    line = refused(*tree(pictures()), status=1)
    assert line.startswith("shard train-000000: unexpected ZeroDivisionError: ours; a fault of this program")
    assert "ZeroDivisionError: ours" in Path("out/.build/error.txt").read_text()


def test_ctrl_c_stops_with_one_line_and_the_same_command_continues(
    build: Build, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures()
    job = tree(folder, "--order", "source", "--samples-per-shard", "3")
    assert build(*job, "--out", "whole").status == 0
    real = Folder.read

    def read(self: Folder, entry: Entry, most: int | None = None) -> bytes:
        if most is None and entry.name == "b/00.png":
            raise KeyboardInterrupt
        return real(self, entry, most)

    monkeypatch.setattr(Folder, "read", read)
    result = build(*job)
    assert (result.status, result.out) == (1, "")
    assert result.err == "stopped; what is committed stays, and the same command continues from there\n"
    monkeypatch.setattr(Folder, "read", real)
    first = Path("out/folder-rank3/folder-rank3-train-000000.tar").stat().st_mtime_ns
    assert build(*job) == (0, "", "")
    assert Path("out/folder-rank3/folder-rank3-train-000000.tar").stat().st_mtime_ns == first
    assert contents(Path("out")) == contents(Path("whole"))


def run_build(*arguments: object, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in its own process, followed by ``shell``."""
    words = [sys.executable, "-m", "pipeline.build", *map(str, arguments)]
    command = " ".join(shlex.quote(word) for word in words) + f" {shell}"
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")} | environment
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", ">&- 2>&- <&-"])
def test_a_closed_terminal_does_not_stop_a_build(tmp_path: Path, shell: str) -> None:
    done = run_build(*SAMPLE, "--limit", 60, "--workers", 0, "--out", tmp_path / "out", shell=shell)
    assert done.returncode == 0
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_no_home_folder_is_one_line(refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    line = refused("--dataset", "cifar10", "--ranks", "3", status=1)
    assert line.startswith("there is no home folder for downloads")
    assert "set XDG_CACHE_HOME, or give --data-dir" in line


@pytest.mark.ray
def test_a_path_that_is_not_utf8_is_one_line_under_ray(tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.build", *map(str, SAMPLE), "--workers", "1", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    source, error = done.stderr.splitlines()
    assert source.startswith("source: ")
    assert error.startswith("error: Ray could not start (")
    assert error.endswith("; --workers 0 builds without it")


def test_switches_of_a_job_file_can_be_turned_off(build: Build, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.yaml").write_text("metadata: {job: {dataset: sample, ranks: 3, limit: 8, dry-run: true}}")
    assert "to build" in build("--config", "job.yaml").out
    assert build("--config", "job.yaml", "--no-dry-run") == (0, "", "")
    assert Path("out/sample/manifest.json").is_file()


def test_shards_divisible_by_makes_a_multiple_that_resumes_grows_and_verifies(
    build: Build, pictures: Pictures, here: Path
) -> None:
    from pipeline import verify

    job = f"dataset: folder\n    data-dir: {pictures(each=9)}\n    samples-per-shard: 10\n    shards-divisible-by: 4"
    (here / "job.yaml").write_text(f"metadata:\n  job:\n    {job}\n    name: n\n    out: out\n")
    assert build("--config", "job.yaml", "--ranks", "3").status == 0
    sizes = json.loads((here / "out" / "n-rank3" / "sizes.json").read_text())
    assert [sizes[name] for name in sorted(sizes)] == [5, 5, 5, 3]
    before = stamps(here / "out")
    assert build("--config", "job.yaml", "--ranks", "3").status == 0
    assert build("--config", "job.yaml", "--ranks", "3,5").status == 0
    after = stamps(here / "out")
    assert all(after[name] == before[name] for name in before if name.endswith(".tar"))
    assert verify.main(["out", "--workers", "1"]) == 0
    refused = build("--config", "job.yaml", "--ranks", "3", "--shards-divisible-by", "16", "--out", "other")
    assert refused.status == 2
    assert refused.err.startswith(
        "error: shards-divisible-by: with 3 to 10 samples in a shard, no number of shards of train (18"
    )
