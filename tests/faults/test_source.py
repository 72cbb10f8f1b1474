"""Promise: if the source fails or changes during a build, no image is missing or mixed in the output."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.storage.files import regular_descriptor
from pipeline.verify import main as verify
from tests.conftest import Build, SmallCifar, contents, smooth

pytestmark = pytest.mark.fault

RANKS = ("--ranks", "3", "--components", "low,full", "--samples-per-shard", "2")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.execution.scheduler.time.sleep", lambda seconds: None)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Returns the list of image files that are opened from now on. ``HAPPENINGS`` are called at each of them."""
    opened: list[str] = []

    def noting(path: str | Path) -> int:
        opened.append(os.fspath(path))
        at_read(len(opened), opened[-1])
        return regular_descriptor(path)

    def at_read(number: int, path: str) -> None:
        for happens in list(HAPPENINGS):
            happens(number, path)

    monkeypatch.setattr("pipeline.sources.ranges.regular_descriptor", noting)
    yield opened
    HAPPENINGS.clear()


HAPPENINGS: list[Callable[[int, str], None]] = []


def fails(at: int, times: int = 1, number: int = errno.EIO) -> None:
    def happens(count: int, path: str) -> None:
        if at <= count < at + times:
            raise OSError(number, os.strerror(number), path)

    HAPPENINGS.append(happens)


def job(folder: Path, out: Path) -> tuple[object, ...]:
    return ("--dataset", "folder", "--data-dir", folder, *RANKS, "--out", out)


@pytest.fixture
def folder(pictures: Callable[..., Path]) -> Path:
    return pictures()


@pytest.fixture
def whole(folder: Path, build: Build, tmp_path: Path) -> dict[str, bytes]:
    assert build(*job(folder, tmp_path / "whole")).status == 0
    return contents(tmp_path / "whole")


def test_one_read_error_at_every_read(
    folder: Path, whole: dict[str, bytes], build: Build, reads: list[str], tmp_path: Path
) -> None:
    """One error per build, at each read of a header or of an image: the shard is built again, and nothing is missing."""
    assert build(*job(folder, tmp_path / "count")).status == 0
    assert len(reads) == 2 * 8
    retries = []
    for at in range(1, 2 * 8 + 1):
        reads.clear()
        HAPPENINGS.clear()
        fails(at)
        out = tmp_path / f"out{at}"
        result = build(*job(folder, out))
        assert result.status == 0
        retries += result.err.splitlines()
        assert contents(out) == whole
    assert len(retries) == 8
    assert all(line.startswith("trying again: shard train-") and "Input/output error" in line for line in retries)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES])
def test_a_source_that_stays_away(
    number: int, folder: Path, whole: dict[str, bytes], build: Build, reads: list[str], tmp_path: Path
) -> None:
    assert build(*job(folder, tmp_path / "count")).status == 0
    at = len(reads) - 3
    reads.clear()
    fails(at, times=10**6, number=number)
    out = tmp_path / "out"
    result = build(*job(folder, out))
    *again, last = result.err.splitlines()
    assert result.status == 1
    assert last.startswith("error: shard train-") and os.strerror(number) in last
    assert len(again) == (0 if number == errno.EACCES else 2)
    assert not (out / "manifest.json").exists()
    assert not (out / "rejects.jsonl").exists()
    HAPPENINGS.clear()
    assert build(*job(folder, out)).status == 0
    assert contents(out) == whole


@pytest.mark.parametrize("change", ["cut", "longer", "gone"])
def test_an_image_that_changes_its_size_during_the_build(
    change: str, folder: Path, whole: dict[str, bytes], build: Build, reads: list[str], tmp_path: Path
) -> None:
    image = folder / "b" / "03.png"
    content = image.read_bytes()
    out = tmp_path / "out"

    def happens(count: int, path: str) -> None:
        if (out / ".build" / "records").exists() and len(list((out / ".build" / "records").iterdir())) == 1:
            if change == "gone":
                image.unlink(missing_ok=True)
            else:
                image.write_bytes(content[:-9] if change == "cut" else content + b"more")

    HAPPENINGS.append(happens)
    result = build(*job(folder, out))
    reason = "No such file" if change == "gone" else f"bytes, it had {len(content)} when it was indexed"
    assert result.status == 1
    assert result.err.splitlines()[-1].startswith("error: shard train-") and reason in result.err
    assert not (out / "manifest.json").exists()
    HAPPENINGS.clear()
    image.write_bytes(content)
    assert build(*job(folder, out)).status == 0
    assert contents(out) == whole


def bitmap(path: Path, seed: int) -> None:
    """Writes a BMP file; all have the same size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(np.random.default_rng(seed), 12, 12)).save(path)


def test_an_image_replaced_by_one_of_the_same_size(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The size is the same, so what is built stays. ``verify --source`` names it. Adding a rank rebuilds the shard."""
    folder, out, fresh = (tmp_path / name for name in ("pictures", "out", "fresh"))
    for number in range(8):
        bitmap(folder / "ab"[number % 2] / f"{number:02}.bmp", number)
    assert build(*job(folder, out)).status == 0
    before = contents(out)
    bitmap(folder / "a" / "04.bmp", 99)
    assert build(*job(folder, out)).status == 0
    assert contents(out) == before
    prove = [str(out), "--source", str(folder), "--workers", "1", "--sample", "100"]
    capsys.readouterr()
    assert verify(prove) == 1
    assert "train-00000002" in "".join(capsys.readouterr())
    grown = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3,5", *RANKS[2:])
    assert build(*grown, "--out", out).status == 0
    assert build(*grown, "--out", fresh).status == 0
    assert contents(out) == contents(fresh), "no variant is left of the old image"
    assert verify(prove) == 0


def test_an_archive_that_is_cut_off_during_the_build(
    cifar_binary: SmallCifar, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = ("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--allow-unverified", *RANKS)
    assert build(*job, "--out", tmp_path / "whole").status == 0
    file = next(cifar_binary.folder.rglob("data_batch_2.bin"))
    content = file.read_bytes()
    out, real = tmp_path / "out", os.pread

    def cutting(descriptor: int, size: int, offset: int) -> bytes:
        if len(list((out / ".build" / "records").iterdir())) == 3 and file.stat().st_size == len(content):
            file.write_bytes(content[:-3073])
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", cutting)
    result = build(*job, "--out", out)
    assert (result.status, result.err.count("trying again")) == (1, 2)
    assert "is shorter than when it was indexed" in result.err.splitlines()[-1]
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr(os, "pread", real)
    file.write_bytes(content)
    assert build(*job, "--out", out).status == 0
    assert contents(out) == contents(tmp_path / "whole")
