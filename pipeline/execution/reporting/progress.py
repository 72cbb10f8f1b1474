"""The progress of a build: its rate, the remaining time, and the line on stderr that shows them."""

import heapq
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from pipeline.liveness import duration
from pipeline.planning.shard_task import STAGES

_INTERVAL = {True: 0.2, False: 10.0}  # seconds between updates, on a terminal and elsewhere


class Pace:
    """Counts finished shards and estimates the remaining time.

    The estimate assumes that every image takes the mean work measured so far, and that workers take the shards in their
    order. So a large last shard, or fewer shards than workers, is accounted for.

    Args:
        sizes: images of each shard, in the order in which shards begin.
        workers: processes; None if their number is unknown. The estimate then uses the rate so far.

    Attributes:
        images: images of all shards.
        shards: number of shards.
        images_done, shards_done: those of finished shards.
    """

    def __init__(self, sizes: Sequence[int], workers: int | None) -> None:
        self.images, self.shards = sum(sizes), len(sizes)
        self._workers = None if workers is None else max(1, workers)
        self._longest = None if self._workers is None else _makespan(sizes, self._workers)
        self.images_done = self.shards_done = 0
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._working, self._working_seconds = 0, dict[str, float]()

    def finished(self, images: int, seconds: Mapping[str, float]) -> None:
        """Counts a committed shard. ``seconds``: of work on it, by stage."""
        self.images_done += images
        self.shards_done += 1
        self._seconds = {stage: self._seconds[stage] + seconds.get(stage, 0.0) for stage in STAGES}
        self.working(0, {})

    def working(self, images: int, seconds: Mapping[str, float]) -> None:
        """Sets the images and the seconds by stage of unfinished shards."""
        self._working, self._working_seconds = images, dict(seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of work so far by stage, summed over all workers."""
        return {stage: self._seconds[stage] + self._working_seconds.get(stage, 0.0) for stage in STAGES}

    @property
    def so_far(self) -> int:
        """Images done, including those of unfinished shards."""
        return self.images_done + self._working

    def rate(self, elapsed: float) -> float:
        """Returns images per second of wall time."""
        return self.so_far / max(elapsed, 1e-9)

    def left(self, elapsed: float) -> float | None:
        """Returns the estimated seconds that remain, or None before the first image is done."""
        done, remaining = self.so_far, self.images - self.so_far
        if not done:
            return None
        if self._longest is None or self._workers is None:
            return remaining / self.rate(elapsed)
        each = sum(self.seconds.values()) / done
        whole = each * self._longest
        return whole - elapsed if remaining and whole > elapsed else remaining * each / self._workers

    def bounds(self) -> str:
        """Returns the stage that takes most of the work, or an empty string before any work is measured."""
        seconds = self.seconds
        return max(seconds, key=lambda stage: seconds[stage]) if any(seconds.values()) else ""


def _makespan(sizes: Sequence[int], workers: int) -> int:
    """Returns the images of the busiest worker if each takes the next shard as soon as it is free."""
    busy = [0] * min(workers, max(1, len(sizes)))
    for size in sizes:
        heapq.heapreplace(busy, busy[0] + size)
    return max(busy)


class ProgressLine:
    """Shows a pace on stderr: one line rewritten in place on a terminal, a new line every ten seconds elsewhere.

    Args:
        quiet: show nothing.
        stream: default stderr.

    Attributes:
        quiet: whether it shows nothing, as requested or because its stream has ended.
    """

    def __init__(self, pace: Pace, quiet: bool, stream: TextIO | None = None) -> None:
        self._pace, self.quiet = pace, quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()  # ``console.run`` replaced a closed stderr by a stream to nowhere
        self._started = self._shown = time.monotonic()

    def start(self, computes_on: str) -> None:
        """Starts the clock when the workers are ready, and shows what they compute on."""
        self._started = time.monotonic()
        if not self.quiet:
            self._write(f"building on {computes_on}\n")

    @property
    def elapsed(self) -> float:
        """Seconds since ``start``."""
        return time.monotonic() - self._started

    def show(self) -> None:
        """Shows the line if it is due, and always when all shards are done."""
        now, done = time.monotonic(), self._pace.shards_done == self._pace.shards
        if self.quiet or not (done or now - self._shown >= _INTERVAL[self._terminal]):
            return
        self._shown = now
        text = describe(self._pace, self.elapsed)
        # The cursor returns to the start of the line, so that a message of ``console.tell`` overwrites the line.
        self._write(f"\r\x1b[K{text[: self._columns()]}\r" if self._terminal else f"{text}\n")

    def close(self) -> None:
        if self._terminal and not self.quiet:
            self._write("\n")

    def _columns(self) -> int | None:
        """Returns the most columns that the line may take: a line that wraps cannot be rewritten."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns - 1 or None
        except (OSError, ValueError):
            return None

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a stderr that is gone must not stop the build
            self.quiet = True


def describe(pace: Pace, elapsed: float) -> str:
    """Returns the progress line: images, rate, shards, remaining time, and each stage's share of the work."""
    left = pace.left(elapsed)
    return (
        f"{pace.so_far:,} of {pace.images:,} images, {per_second(pace.rate(elapsed))}/s; "
        f"shards {pace.shards_done} of {pace.shards}; {'?' if left is None else duration(left)} left; "
        f"{shares(pace.seconds)}"
    )


def per_second(rate: float) -> str:
    """Returns a rate as text. Rates below 10 have two digits: large images take seconds each."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def shares(seconds: Mapping[str, float]) -> str:
    """Returns each stage's share of the work, as in ``svd 51 %``, and the stage that takes most."""
    total = sum(seconds.values()) or 1.0
    parts = {stage: 100 * seconds.get(stage, 0.0) / total for stage in STAGES}
    most = max(parts, key=lambda stage: parts[stage])
    listed = ", ".join(f"{stage} {part:.0f} %" for stage, part in parts.items())
    return f"{listed}; {most} bounds" if parts[most] else listed
