"""Promise: a build without progress reports which worker waits for what, with or without workers, and can continue."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline import build
from pipeline.execution import run
from pipeline.planning import output_state
from tests.faults.builds import Build, Ended, assert_undisturbed

pytestmark = pytest.mark.fault


def plain(folder: Path) -> tuple[object, ...]:
    return ("--dataset", "folder", "--data-dir", folder, "--ranks", 2, "--order", "source", "--samples-per-shard", 8)


def job(folder: Path, log: Path) -> tuple[object, ...]:
    return (*plain(folder), "--stall", 1, "--log-json", log)


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def stalls(log: Path) -> list[dict[str, Any]]:
    return [shard for event in events(log) if event["event"] == "stalled" for shard in event["shards"]]


def assert_continued(ended: Ended, log: Path, *words: str) -> None:
    """Checks that the stall and its end were reported on stderr and in the log."""
    assert (ended.status, ended.out) == (0, ""), ended
    # On a busy machine the steps before and after the shards may also last longer than a second.
    lines = [line for line in ended.err.splitlines() if not line.startswith("still ")]
    assert all(line.startswith(("no progress: shard ", "continues: shard ")) for line in lines), ended
    for word in words:
        assert word in ended.err
    assert lines[-1].startswith("continues: shard ")
    assert "moving" in [event["event"] for event in events(log)]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=[pytest.mark.ray, pytest.mark.full])])
def test_a_stuck_image_is_named(workers: int, trapped: Callable[..., Path], release: Path, tmp_path: Path) -> None:
    folder, log, out = trapped(b03="STUCK"), tmp_path / "log", tmp_path / "out"
    with Build(*job(folder, log), "--workers", workers, out=out) as build:
        build.wait_for(lambda: len(stalls(log)) >= 2, pause=0.05)
        pids = {build.pid} if workers == 0 else set(build.workers())
        release.touch()
        ended = build.end()
    assert_continued(ended, log, "shard train-000001: decode of b/03.png for ")
    first, second = stalls(log)[:2]
    assert first["pid"] in pids
    expected = {"shard": "train-000001", "stage": "decode", "entry": "b/03.png", "node": socket.gethostname()}
    for stall in (first, second):
        assert stall | expected == stall
        assert not stall["silent"]
    assert 1 <= first["seconds"] < 2 * first["seconds"] <= second["seconds"]
    assert_undisturbed(*plain(folder), out=out)


@pytest.mark.ray
def test_silent_workers_are_named_with_their_last_heartbeat(
    trapped: Callable[..., Path], release: Path, tmp_path: Path
) -> None:
    """One worker is stopped, the other is in C code that holds the interpreter lock."""
    folder, log, out = trapped(a01="STUCK", b03="DEAF"), tmp_path / "log", tmp_path / "out"

    def silent() -> set[str]:
        return {shard["shard"] for shard in stalls(log) if shard["silent"]}

    with Build(*job(folder, log), "--workers", 2, out=out) as build:
        build.wait_for(lambda: any(stall["entry"] == "a/01.png" for stall in stalls(log)), pause=0.05)
        stopped = next(stall["pid"] for stall in stalls(log) if stall["entry"] == "a/01.png")
        os.kill(stopped, signal.SIGSTOP)
        build.wait_for(lambda: silent() == {"train-000000", "train-000001"}, pause=0.05)
        os.kill(stopped, signal.SIGCONT)
        release.touch()
        ended = build.end()
    assert_continued(ended, log, "which sends no heartbeat: the process or its machine is stopped or cut off")
    assert {stall["entry"] for stall in stalls(log) if stall["silent"]} >= {"a/01.png"}


def test_nothing_is_said_with_stall_0(trapped: Callable[..., Path], release: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Build(*job(trapped(b03="STUCK"), log), "--stall", 0, "--workers", 0, out=tmp_path / "out") as build:
        build.wait_for(lambda: any(event["event"] == "shard" for event in events(log)), pause=0.05)
        time.sleep(1.2)
        release.touch()
        ended = build.end()
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("module", "name", "step"),
    [
        (run, "plan_job", "going through the images of "),
        (run, "shard_tasks", "looking through what is in "),
        (output_state, "finish", "writing the lists and the manifest of "),
    ],
)
def test_long_steps_before_and_after_the_shards_are_named(
    module: ModuleType,
    name: str,
    step: str,
    pictures: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, function = tmp_path / "log", getattr(module, name)

    def stuck(*arguments: object) -> object:
        time.sleep(2.4)
        return function(*arguments)

    monkeypatch.setattr(module, name, stuck)
    flags = [str(word) for word in (*job(pictures(each=8), log), "--workers", 0, "--quiet", "--out", tmp_path / "out")]
    assert build.main(flags) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"still {step}") and first.endswith(", for 1 s so far")
    assert second.startswith(f"still {step}") and second.endswith(", for 2 s so far")
    seconds = [event["seconds"] for event in events(log) if event["event"] == "lasting"]
    assert seconds == [1, 2]
