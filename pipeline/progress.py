"""One line that says where a build stands: rate, shards, time left, and which stage takes the time."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from pipeline.work import STAGES

_EVERY = {True: 0.2, False: 10.0}  # seconds between lines, on a terminal and elsewhere


class ProgressLine:
    """Counts what is finished and shows it: rewritten in place on a terminal, plain lines now and then elsewhere.

    The rate and the time left are measured from this run's own work, from the moment the workers stood ready.

    Args:
        images, shards: what this run has to build.
        quiet: show nothing.
    """

    def __init__(self, images: int, shards: int, quiet: bool, stream: TextIO | None = None) -> None:
        self._images, self._shards, self._quiet = images, shards, quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()  # ``command.run`` has seen to it that there is a stream
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._started = self._shown = time.monotonic()
        self.images_done = self.shards_done = 0

    def start(self) -> None:
        """The workers stand ready: what came before is not work."""
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since ``start``."""
        return time.monotonic() - self._started

    def finished(self, images: int, seconds: Mapping[str, float]) -> None:
        """A shard is committed."""
        self.images_done += images
        self.shards_done += 1
        self._seconds = _added(self._seconds, seconds)
        self.show(force=self.shards_done == self._shards)

    def show(self, working: int = 0, seconds: Mapping[str, float] | None = None, force: bool = False) -> None:
        """Show the line if it is due.

        Args:
            working: images of unfinished shards that are done.
            seconds: the time they have taken, by stage.
        """
        now = time.monotonic()
        if self._quiet or not (force or now - self._shown >= _EVERY[self._terminal]):
            return
        self._shown = now
        text = self._text(self.images_done + working, _added(self._seconds, seconds or {}))
        self._write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")

    def close(self) -> None:
        if self._terminal and not self._quiet:
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody can be shown it, which is no reason to stop the work
            self._quiet = True

    def _text(self, images: int, seconds: Mapping[str, float]) -> str:
        rate = images / max(self.elapsed, 1e-9)
        left = duration((self._images - images) / rate) if images else "?"
        return (
            f"{images:,} of {self._images:,} images, {rate:,.0f}/s; shards {self.shards_done} of {self._shards}; "
            f"{left} left; {shares(seconds)}"
        )


def _added(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {stage: a[stage] + b.get(stage, 0.0) for stage in a}


def shares(seconds: Mapping[str, float]) -> str:
    """Each stage's share of the time worked, as in ``svd 51 %``."""
    total = sum(seconds.values()) or 1.0
    return ", ".join(f"{stage} {100 * seconds.get(stage, 0.0) / total:.0f} %" for stage in STAGES)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
