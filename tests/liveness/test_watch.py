"""Promise: whoever waits is named: shard, stage, image, process, node; again at growing intervals; and when it goes on."""

import time
from typing import Any

from pipeline.execution.ray.heartbeat import Beat
from pipeline.execution.stall_watch import Watch
from pipeline.planning.shard_task import Progress


class Workers:
    """What workers say, set by hand."""

    def __init__(self) -> None:
        self.said: dict[str, Beat] = {}
        self.told: list[tuple[str, str]] = []
        self.fields: dict[str, Any] = {}
        self.number = 0

    def say(self, event: str, message: str, **fields: Any) -> None:
        self.told.append((event, message))
        self.fields = fields

    def beat(self, shard: str, seconds: float, stage: str = "read", entry: str = "a/0.png") -> None:
        self.number += 1
        self.said[shard] = Beat(stage, entry, "node7", 5, seconds, self.number)

    def read(self, shards: list[str]) -> dict[str, Beat]:
        return {shard: self.said[shard] for shard in shards if shard in self.said}

    def room(self) -> str:
        return "0 of 2 CPUs are free"


def events(workers: Workers) -> list[str]:
    told = [event for event, _ in workers.told]
    workers.told.clear()
    return told


def test_a_shard_that_moves_is_nothing_to_speak_of() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    for second in range(0, 1000, 5):
        workers.beat("train-000000", second % 100)
        watch.look(workers, second)
    watch.ended("train-000000")
    assert workers.told == []


def test_a_still_shard_is_told_after_growing_intervals_and_when_it_goes_on() -> None:
    workers, told = Workers(), []
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    for second in range(0, 1000, 5):
        workers.beat("train-000000", second)
        watch.look(workers, second)
        told += [second] * len(events(workers))
    assert told == [120, 240, 480, 960]
    workers.beat("train-000000", 1)
    watch.look(workers, 1001)
    assert workers.told == [("moving", "continues: shard train-000000")]
    workers.beat("train-000000", 120)
    watch.look(workers, 1120)
    assert workers.told[1:] == [
        ("stalled", "no progress: shard train-000000: read of a/0.png for 2 min 00 s (process 5 on node7)")
    ]
    one = {"shard": "train-000000", "stage": "read", "entry": "a/0.png", "node": "node7", "pid": 5}
    assert workers.fields == {"shards": [one | {"seconds": 120, "silent": False}]}
    watch.ended("train-000000")
    assert workers.told[2:] == [("moving", "continues: shard train-000000")]


def test_a_worker_that_says_nothing_is_told_with_its_last_word() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    workers.beat("train-000000", 3, "svd", "")
    for second in range(0, 121, 5):
        watch.look(workers, second)
    assert workers.told == [
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
    ((_, line),) = workers.told
    assert line.endswith("; and 6 more")
    assert line.count("train-") == 3
    assert line.isprintable()
    assert len(workers.fields["shards"]) == 9


def test_shards_in_line_behind_others_are_nothing_to_speak_of_but_a_line_that_never_moves_is() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    watch.started("train-000001")
    start = time.monotonic()
    for second in range(0, 400, 5):
        watch.look(workers, start + second)
    assert workers.told == [
        ("waiting", f"no worker has begun any of 2 shards for {time}; 0 of 2 CPUs are free")
        for time in ("2 min 00 s", "4 min 00 s")
    ]
    events(workers)
    for second in range(400, 800, 5):
        workers.beat("train-000000", 1)
        watch.look(workers, start + second)
    assert workers.told == [("moving", "continues: a worker has begun")]


def test_a_failed_worker_does_not_go_on() -> None:
    """What becomes of it, others tell."""
    workers = Workers()
    watch = Watch(120, workers.say)
    watch.started("train-000000")
    workers.beat("train-000000", 130)
    watch.look(workers, 0)
    assert events(workers) == ["stalled"]
    watch.ended("train-000000", built=False)
    assert workers.told == []


def test_a_shard_of_this_process_is_watched_by_its_progress() -> None:
    workers = Workers()
    watch = Watch(120, workers.say)
    progress = Progress()
    watch.started("train-000000", progress)
    with progress.timed("decode"):
        progress.at("a/1.png")
        watch.look(None, time.monotonic())
        assert workers.told == []
        progress.now = progress.now._replace(since=time.monotonic() - 125)
        watch.look(None, time.monotonic())
    ((event, line),) = workers.told
    assert event == "stalled"
    assert "train-000000: decode of a/1.png for 2 min 05 s (process " in line
