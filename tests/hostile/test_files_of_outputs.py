"""Pipes, links and files of gigabytes in an output are reported, in bounded memory and time, without waiting for them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import build
from pipeline.data import RankDataset, RankView
from pipeline.errors import PipelineError
from tests.hostile.limited import Done, Limited

Run = Callable[..., Done]
GIGABYTES = 4 << 30
TAR, LIST = "sample-full/sample-full-train-000000.tar", "samples/train.jsonl"
ARRAYS = ("spectra.zarr/train", "factors.zarr/train/u")
METADATA = tuple(f"{array}/zarr.json" for array in ARRAYS)
CHUNKS = ("spectra.zarr/train/c.0.0.0", "factors.zarr/train/u/c.0.0.0.0")
# One file of each array, so that each is reported on its own.
DAMAGED = (*METADATA, CHUNKS[0].replace("train", "test"), "factors.zarr/test/s/c.0.0.0", "README.md", TAR)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("files") / "out"
    variants = ["--ranks", "3", "--components", "low,high,full", "--factors"]
    images = ["--samples-per-shard", "8", "--limit", "12"]
    assert build.main([*variants, *images, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    shutil.rmtree(out / ".build")
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a command with bounded memory and time."""
    with Limited() as server:

        def ended(command: str, *arguments: object) -> Done:
            done: Done = server.run(command, *arguments)
            assert "Traceback" not in done.stderr
            return done

        yield ended


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swell(path: Path) -> None:
    os.truncate(path, GIGABYTES)


def link(path: Path) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def size_message(size: int) -> str:
    return f"{GIGABYTES:,} bytes, the manifest says {size:,}"


@pytest.mark.parametrize(
    ("damage", "message"), [(pipe, "cannot be read: not a regular file"), (swell, ""), (link, "is a link")]
)
def test_verify_names_each_file_once_and_no_other(
    run: Run, out: Path, damage: Callable[[Path], None], message: str
) -> None:
    right = {name: message or size_message((out / name).stat().st_size) for name in DAMAGED}
    for name in DAMAGED:
        damage(out / name)
    expected = {f"{name}: {text}" for name, text in right.items()}
    quick = run("verify", out, "--quick")
    assert (quick.returncode, {*quick.stderr.splitlines()}) == (1, expected)
    done = run("verify", out, "--workers", 1)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert {line for line in lines if not line.endswith("is not read any further")} == expected
    assert len(lines) == len(DAMAGED) + (damage is swell)  # a tar is read a little further


@pytest.mark.parametrize("name", [LIST, "rejects.jsonl"])
@pytest.mark.parametrize("damage", [pipe, swell])
def test_verify_names_a_list(run: Run, out: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(out / name)
    lines = run("verify", out, "--workers", 1).stderr.splitlines()
    assert lines and all(line.startswith(f"{name}: ") for line in lines)


def test_a_file_of_the_wrong_size_is_not_read_to_its_end(run: Run, out: Path) -> None:
    """Reading and hashing it would take minutes."""
    for name in (TAR, "README.md", LIST, *CHUNKS):
        os.truncate(out / name, 1 << 38)
    done = run("verify", out, "--workers", 1)
    assert {line.split(": ")[0] for line in done.stderr.splitlines()} == {TAR, "README.md", LIST, *CHUNKS}


@pytest.mark.parametrize("damage", [pipe, swell, link])
def test_repair_rebuilds_them(run: Run, built: Path, out: Path, damage: Callable[[Path], None]) -> None:
    """Pipes and links are replaced only after the user has deleted them."""
    for name in DAMAGED:
        damage(out / name)
    if damage is not swell:
        refused = run("repair", out, "--workers", 0)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert any(str(out / name) in refused.stderr for name in DAMAGED)
        for name in DAMAGED:
            (out / name).unlink()
    done = run("repair", out, "--workers", 0)
    assert (done.returncode, {*done.stdout.splitlines()}) == (0, {f"repaired: {name}" for name in DAMAGED})
    assert all((out / name).read_bytes() == (built / name).read_bytes() for name in DAMAGED)


def test_a_folder_that_is_a_link_is_named_and_nothing_is_written_beyond_it(run: Run, out: Path, tmp_path: Path) -> None:
    (out / "sample-full").rename(tmp_path / "elsewhere")
    (out / "sample-full").symlink_to(tmp_path / "elsewhere")
    done = run("verify", out, "--workers", 1)
    assert (done.returncode, done.stderr) == (1, "sample-full: is a link\n")
    assert f"{out / 'sample-full'} is a symbolic link" in run("repair", out, "--workers", 0).stderr
    os.rename(out, tmp_path / "moved")
    out.symlink_to(tmp_path / "moved")
    (out / "sample-full").unlink()
    (tmp_path / "elsewhere").rename(out / "sample-full")
    assert run("verify", out, "--workers", 1).returncode == 0  # a link may lead to the output's own folder


def test_a_manifest_that_is_a_link_is_refused(run: Run, out: Path) -> None:
    link(out / "manifest.json")
    assert "is a link: an output holds its own files" in run("verify", out).stderr


@pytest.mark.parametrize(
    ("name", "damage"), [(METADATA[0], swell), (CHUNKS[0], pipe), ("rejects.jsonl", pipe), ("rejects.jsonl", swell)]
)
def test_a_report_ends_in_one_line(
    run: Run, out: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(out / name)
    done = run("report", out, "--out", tmp_path / "report.html")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert name in done.stderr


@pytest.mark.parametrize("name", [METADATA[1], CHUNKS[1], "rejects.jsonl", TAR, TAR.replace(".tar", ".idx")])
def test_readers_do_not_wait_for_a_pipe(out: Path, name: str) -> None:
    pipe(out / name)
    with pytest.raises(PipelineError, match="not a regular file"):
        RankView(out, 2, component="high" if "full" in name else "low")[0]


@pytest.mark.parametrize("name", [METADATA[1], "rejects.jsonl", TAR.replace(".tar", ".idx"), LIST])
def test_readers_do_not_read_what_is_larger_than_it_can_be(out: Path, name: str) -> None:
    swell(out / name)
    with pytest.raises(PipelineError, match="more than it can have|does not give every sample"):
        RankView(out, 2)[0]


def test_rows_of_another_shape_than_the_manifest_says_are_refused(out: Path) -> None:
    path = out / METADATA[1]
    path.write_text(path.read_text().replace("32", "1000000"))
    with pytest.raises(PipelineError, match="build the output again"):
        RankView(out, 2)
    assert len(RankDataset(out, "full"))
