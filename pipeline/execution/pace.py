"""How fast a build goes, and how long it still takes, from the work measured so far."""

import heapq
from collections.abc import Mapping, Sequence

from pipeline.planning.shard_task import STAGES


class Pace:
    """Adds up what is done of shards whose sizes are known.

    The time left is that of the whole, less what has passed: each image takes the worked seconds measured so far, and
    workers take shards in their order, so that a last large shard, or fewer shards than workers, counts as it should.

    Args:
        sizes: images of each shard, in the order in which they are begun.
        workers: processes; None where nobody knows how many there will be, and the rate so far has to do.
    """

    def __init__(self, sizes: Sequence[int], workers: int | None) -> None:
        self.images, self.shards = sum(sizes), len(sizes)
        self._workers = None if workers is None else max(1, workers)
        self._longest = None if self._workers is None else _makespan(sizes, self._workers)
        self.images_done = self.shards_done = 0
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._working, self._working_seconds = 0, dict[str, float]()

    def finished(self, images: int, seconds: Mapping[str, float]) -> None:
        """A shard is committed. ``seconds``: worked on it, by stage."""
        self.images_done += images
        self.shards_done += 1
        self._seconds = {stage: self._seconds[stage] + seconds.get(stage, 0.0) for stage in STAGES}
        self.working(0, {})

    def working(self, images: int, seconds: Mapping[str, float]) -> None:
        """What is done of unfinished shards."""
        self._working, self._working_seconds = images, dict(seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """Worked so far over all workers, by stage."""
        return {stage: self._seconds[stage] + self._working_seconds.get(stage, 0.0) for stage in STAGES}

    @property
    def so_far(self) -> int:
        """Images done, also of unfinished shards."""
        return self.images_done + self._working

    def rate(self, elapsed: float) -> float:
        """Images a second by the clock."""
        return self.so_far / max(elapsed, 1e-9)

    def left(self, elapsed: float) -> float | None:
        """Seconds; None before anything is known."""
        done, remaining = self.so_far, self.images - self.so_far
        if not done:
            return None
        if self._longest is None or self._workers is None:
            return remaining / self.rate(elapsed)
        each = sum(self.seconds.values()) / done
        whole = each * self._longest
        return whole - elapsed if remaining and whole > elapsed else remaining * each / self._workers

    def bounds(self) -> str:
        """The stage that takes most of the work; none before anything is known."""
        seconds = self.seconds
        return max(seconds, key=lambda stage: seconds[stage]) if any(seconds.values()) else ""


def _makespan(sizes: Sequence[int], workers: int) -> int:
    """Images that the busiest worker gets, where each takes the next shard as soon as it is free."""
    busy = [0] * min(workers, max(1, len(sizes)))
    for size in sizes:
        heapq.heapreplace(busy, busy[0] + size)
    return max(busy)
