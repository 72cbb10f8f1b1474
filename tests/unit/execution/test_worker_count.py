"""A build of a few seconds needs no Ray, unless the user asks for workers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.build import main as build_main
from pipeline.execution import run, worker_count
from pipeline.execution.ray import local
from pipeline.planning.job import Job


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_count, "usable_cores", lambda: 3)


def job(**options: object) -> Job:
    return Job.parse({"dataset": "sample", "ranks": "3", **options})


@pytest.mark.parametrize(
    ("workers", "shards", "pixels", "expected"),
    [
        (None, 9, 99_999_999, 0),
        (None, 9, 100_000_000, 3),
        (None, 2, 10**12, 2),
        (2, 9, 1, 2),
        (2, 1, 1, 1),
        (0, 9, 10**12, 0),
    ],
)
def test_small_builds_have_no_workers(workers: int | None, shards: int, pixels: int, expected: int) -> None:
    options = {} if workers is None else {"workers": workers}
    assert worker_count.worker_count(job(**options), shards, pixels) == expected


def test_only_missing_pixels_count(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    options = {
        "dataset": "folder",
        "data-dir": str(pictures()),
        "resize": 8,
        "out": str(tmp_path / "out"),
        "quiet": True,
    }
    first = Job.parse(options | {"ranks": "3", "workers": 0})
    run.build(first)
    _, plan = run.plan_job(Job.parse(options | {"ranks": "3,5"}))
    images = sum(len(positions) for positions in plan.positions.values())
    assert images > 0
    whole = worker_count.pixels_to_write(plan.content, [(images, 4)])
    assert whole == images * 64 * 4


@pytest.mark.parametrize(("small", "word"), [(10**9, "in one process, without Ray"), (0, "on 1 worker,")])
def test_a_dry_run_says_whether_ray_would_be_used(
    small: int, word: str, tmp_path: Path, pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(worker_count, "SMALL", small)
    data = str(pictures())
    build_main(["--dataset", "folder", "--data-dir", data, "--ranks", "3", "--dry-run", "--out", str(tmp_path / "out")])
    assert word in capsys.readouterr().out


def test_a_small_build_starts_no_ray(
    tmp_path: Path, pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr(local, "LocalRay", forbidden)
    options = {"dataset": "folder", "data-dir": str(pictures()), "ranks": "3", "quiet": True}
    outcome = run.build(Job.parse(options | {"out": str(tmp_path / "a")}))
    assert outcome.images > 0
    with pytest.raises(AssertionError, match="Ray is started"):
        run.build(Job.parse(options | {"out": str(tmp_path / "b"), "workers": 1}))
