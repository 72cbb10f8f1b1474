"""Promise: a stalled shard is reported with stage, image, process and node, at growing intervals, and when it continues."""

import time
from typing import Any

import pytest

from pipeline.execution.ray.heartbeat import Beat
from pipeline.execution.reporting.stall_watch import Watch
from pipeline.planning.shard_task import Progress


class Workers:
    """Heartbeats that the test sets, and the reports of the watch."""

    def __init__(self) -> None:
        self.said: dict[str, Beat] = {}
        self.reports: list[tuple[str, str]] = []
        self.fields: dict[str, Any] = {}
        self.number = 0

    def say(self, event: str, message: str, **fields: Any) -> None:
        self.reports.append((event, message))
        self.fields = fields

    def beat(self, shard: str, seconds: float, stage: str = "read", entry: str = "a/0.png") -> None:
        self.number += 1
        self.said[shard] = Beat(stage, entry, "node7", 5, seconds, self.number)

    def read(self, shards: list[str]) -> dict[str, Beat]:
        return {shard: self.said[shard] for shard in shards if shard in self.said}

    def room(self) -> str:
        return "0 of 2 CPUs are free"


def events(workers: Workers) -> list[str]:
    names = [event for event, _ in workers.reports]
    workers.reports.clear()
    return names


def test_a_shard_with_progress_is_not_reported() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    for second in range(0, 1000, 5):
        workers.beat("train-000000", second % 100)
        watch.look(workers, second)
    watch.ended("train-000000")
    assert workers.reports == []


def test_a_stalled_shard_is_reported_at_growing_intervals_and_when_it_continues() -> None:
    workers, seconds = Workers(), []
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    for second in range(0, 1000, 5):
        workers.beat("train-000000", second)
        watch.look(workers, second)
        seconds += [second] * len(events(workers))
    assert seconds == [120, 240, 480, 960]
    workers.beat("train-000000", 1)
    watch.look(workers, 1001)
    assert workers.reports == [("moving", "continues: shard train-000000")]
    workers.beat("train-000000", 120)
    watch.look(workers, 1120)
    assert workers.reports[1:] == [
        ("stalled", "no progress: shard train-000000: read of a/0.png for 2 min 00 s (process 5 on node7)")
    ]
    stall = {"shard": "train-000000", "stage": "read", "entry": "a/0.png", "node": "node7", "pid": 5}
    assert workers.fields == {"shards": [stall | {"seconds": 120, "silent": False}]}
    watch.ended("train-000000")
    assert workers.reports[2:] == [("moving", "continues: shard train-000000")]


def test_a_silent_worker_is_reported_with_its_last_heartbeat() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    workers.beat("train-000000", 3, "svd", "")
    for second in range(0, 121, 5):
        watch.look(workers, second)
    assert workers.reports == [
        (
            "stalled",
            "no progress: shard train-000000: svd for 2 min 03 s (process 5 on node7, which sends no heartbeat: the "
            "process or its machine is stopped or cut off)",
        )
    ]
    assert workers.fields["shards"][0]["silent"]


def test_one_line_for_many() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    for number in range(9):
        watch.started(f"train-{number:06d}")
        workers.beat(f"train-{number:06d}", 130, entry="\x1b[31mred\n")
    watch.look(workers, 0)
    ((_, line),) = workers.reports
    assert line.endswith("; and 6 more")
    assert line.count("train-") == 3
    assert line.isprintable()
    assert len(workers.fields["shards"]) == 9


def test_waiting_shards_are_reported_only_if_no_worker_has_begun_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.execution.reporting.stall_watch.time.monotonic", lambda: 0.0)
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    watch.started("train-000001")
    for second in range(0, 400, 5):
        watch.look(workers, second)
    assert workers.reports == [
        ("waiting", f"no worker has begun any of 2 shards for {duration}; 0 of 2 CPUs are free")
        for duration in ("2 min 00 s", "4 min 00 s")
    ]
    events(workers)
    for second in range(400, 800, 5):
        workers.beat("train-000000", 1)
        watch.look(workers, second)
    assert workers.reports == [("moving", "continues: a worker has begun")]


def test_a_failed_worker_does_not_count_as_continuing() -> None:
    """Retries report it."""
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    workers.beat("train-000000", 130)
    watch.look(workers, 0)
    assert events(workers) == ["stalled"]
    watch.ended("train-000000", built=False)
    assert workers.reports == []


def test_a_shard_of_this_process_is_watched_by_its_progress() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    progress = Progress()
    watch.started("train-000000", progress)
    with progress.timed("decode"):
        progress.at("a/1.png")
        watch.look(None, time.monotonic())
        assert workers.reports == []
        progress.now = progress.now._replace(since=time.monotonic() - 125)
        watch.look(None, time.monotonic())
    ((event, line),) = workers.reports
    assert event == "stalled"
    assert "train-000000: decode of a/1.png for 2 min 05 s (process " in line
