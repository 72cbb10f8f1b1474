"""Promise: two builds in one process do not affect each other, and workers do not change the bytes."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from pipeline import build
from tests.faults.builds import hashes, undisturbed

FIRST = ("--dataset", "sample", "--ranks", "3", "--limit", "8", "--samples-per-shard", "4")
_VARIANTS = ("--ranks", "5,7", "--components", "low,high,full")
SECOND = ("--dataset", "sample", *_VARIANTS, "--limit", "6", "--samples-per-shard", "3")


AT_IMPORT = {
    "KMP_DUPLICATE_LIB_OK",
    "RAY_CLIENT_MODE",
}  # variables that threadpoolctl and Ray set when they are imported


def state() -> tuple[object, ...]:
    """What a build in this process could leave behind."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    environment = {name: value for name, value in os.environ.items() if name not in AT_IMPORT}
    return environment, handlers, sys.unraisablehook, os.getcwd()


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.ray
@pytest.mark.parametrize("workers", [("0", "2"), pytest.param(("2", "0"), marks=pytest.mark.full)])
def test_two_builds_in_one_process_do_not_see_each_other(
    workers: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first logs events to stderr, the second to a file; one runs with workers and one without."""
    before, log = state(), tmp_path / "log"
    assert build.main([*FIRST, "--workers", workers[0], "--log-json", "--out", str(tmp_path / "first")]) == 0
    first = capsys.readouterr()
    assert state() == before
    assert (
        build.main([*SECOND, "--workers", workers[1], "--log-json", str(log), "--out", str(tmp_path / "second")]) == 0
    )
    second = capsys.readouterr()
    assert state() == before
    assert hashes(tmp_path / "first") == undisturbed(*FIRST)
    assert hashes(tmp_path / "second") == undisturbed(*SECOND)

    lines = [json.loads(line) for line in first.err.splitlines()]
    assert [line["event"] for line in lines] == ["started", *["shard"] * 4, "finished"]
    assert [event["event"] for event in events(log)] == ["started", *["shard"] * 4, "finished"]
    assert {event.get("out") for event in events(log)} - {None} == {str(tmp_path / "second")}
    assert events(log)[-2]["images_done"] == 12  # not 12 and those of the first build
    assert "\nbuilding on " in second.err  # for people again
    assert "{" not in second.err
    assert "first" not in second.out


def test_a_build_after_a_failed_one_is_as_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, missing = state(), str(tmp_path / "missing")
    assert (
        build.main(["--dataset", "folder", "--data-dir", missing, "--ranks", "3", "--workers", "0", "--log-json"]) == 1
    )
    capsys.readouterr()
    assert state() == before
    assert build.main([*SECOND, "--workers", "0", "--out", str(tmp_path / "second")]) == 0
    assert hashes(tmp_path / "second") == undisturbed(*SECOND)
    assert "{" not in capsys.readouterr().err
