"""One line that says where a build stands: rate, shards, time left, and which stage takes the time."""

import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from pipeline.execution.pace import Pace
from pipeline.liveness import duration as duration
from pipeline.planning.shard_task import STAGES

_EVERY = {True: 0.2, False: 10.0}  # seconds between lines, on a terminal and elsewhere


class ProgressLine:
    """Shows a pace: rewritten in place on a terminal, plain lines now and then elsewhere.

    Time counts from the moment the workers stand ready.

    Args:
        quiet: show nothing.
    """

    def __init__(self, pace: Pace, quiet: bool, stream: TextIO | None = None) -> None:
        self._pace, self._quiet = pace, quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()  # ``command.run`` has seen to it that there is a stream
        self._started = self._shown = time.monotonic()

    def start(self, computes_on: str) -> None:
        """The workers stand ready: what came before is not work. Says what they compute on."""
        self._started = time.monotonic()
        if not self._quiet:
            self._write(f"building on {computes_on}\n")

    @property
    def elapsed(self) -> float:
        """Seconds since ``start``."""
        return time.monotonic() - self._started

    def show(self) -> None:
        """Show the line if it is due; always when everything is done."""
        now, done = time.monotonic(), self._pace.shards_done == self._pace.shards
        if self._quiet or not (done or now - self._shown >= _EVERY[self._terminal]):
            return
        self._shown = now
        text = describe(self._pace, self.elapsed)
        # Back to where it begins, over which ``command.tell`` writes what else there is to say.
        self._write(f"\r\x1b[K{text[: self._room()]}\r" if self._terminal else f"{text}\n")

    def close(self) -> None:
        if self._terminal and not self._quiet:
            self._write("\n")

    def _room(self) -> int | None:
        """Columns that the line may have: one that the terminal wraps cannot be rewritten."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns - 1 or None
        except (OSError, ValueError):
            return None

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody can be shown it, which is no reason to stop the work
            self._quiet = True


def describe(pace: Pace, elapsed: float) -> str:
    """Where a build stands: images, rate, shards, time left, and which stage takes the time."""
    left = pace.left(elapsed)
    return (
        f"{pace.so_far:,} of {pace.images:,} images, {per_second(pace.rate(elapsed))}/s; "
        f"shards {pace.shards_done} of {pace.shards}; {'?' if left is None else duration(left)} left; "
        f"{shares(pace.seconds)}"
    )


def per_second(rate: float) -> str:
    """A rate for people: large images take seconds each, of which whole images a second would be 0."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def shares(seconds: Mapping[str, float]) -> str:
    """Each stage's share of the time worked, as in ``svd 51 %``, and the stage that bounds."""
    total = sum(seconds.values()) or 1.0
    parts = {stage: 100 * seconds.get(stage, 0.0) / total for stage in STAGES}
    most = max(parts, key=lambda stage: parts[stage])
    listed = ", ".join(f"{stage} {part:.0f} %" for stage, part in parts.items())
    return f"{listed}; {most} bounds" if parts[most] else listed
